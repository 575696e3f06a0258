"""Heads: what maps whitened rows (n, d) into the aligned space, before rows are made unit.

A head's first layer is z = x @ theta[name], and its `tail` does the rest: solvers treat the first,
which holds nearly all parameters, apart. Parameters may carry leading dimensions, one set for each
of several tasks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

Theta = dict[str, Tensor]  # named parameters


class Head(Protocol):
    """One kind of head; `name` is "source" or "target"."""

    def learns(self, name: str) -> tuple[str, ...]:
        """Names of the parameters that learn, the first layer's first."""

    def begin(self, name: str, start: Tensor, generator: torch.Generator) -> Theta:
        """All parameters such that the head maps rows as the matrix start (d, width) does."""

    def tail(self, theta: Mapping[str, Tensor], name: str, z: Tensor, x: Tensor) -> Tensor:
        """Embeddings (..., n, width) of rows x (..., n, d) whose first layer is z."""


@dataclass(frozen=True, slots=True)
class Linear:
    """y = x W + b, the bias b only where asked for."""

    bias: bool = False

    def learns(self, name: str) -> tuple[str, ...]:
        """W and b."""
        return (name, f"{name}.bias") if self.bias else (name,)

    def begin(self, name: str, start: Tensor, generator: torch.Generator) -> Theta:
        """W = S, b = 0."""
        bias = {f"{name}.bias": torch.zeros_like(start[0])} if self.bias else {}
        return {name: start.contiguous(), **bias}

    def tail(self, theta: Mapping[str, Tensor], name: str, z: Tensor, x: Tensor) -> Tensor:
        """z + b."""
        return z + theta[f"{name}.bias"].unsqueeze(-2) if self.bias else z


@dataclass(frozen=True, slots=True)
class MLP:
    """y = relu(x W + b) V + c, with `hidden` units.

    Starts as a linear map S: relu(a) - relu(-a) = a, so W = [S, -S] and V = [I; -I] (concatenated
    ReLU, Shang, Sohn, Almeida, Lee, arXiv:1603.05201). With fewer than 2 width hidden units only
    the leading columns of S are kept; units beyond that are random and not yet listened to.
    """

    hidden: int
    bias: bool = True

    def learns(self, name: str) -> tuple[str, ...]:
        """W, V, b and c."""
        names = (name, f"{name}.out")
        return (*names, f"{name}.bias", f"{name}.out_bias") if self.bias else names

    def begin(self, name: str, start: Tensor, generator: torch.Generator) -> Theta:
        """[S, -S] and [I; -I]."""
        d, width = start.shape
        kept = min(self.hidden // 2, width)
        spare = torch.randn(d, self.hidden - 2 * kept, generator=generator) * (2 / d) ** 0.5
        first = torch.cat([start[:, :kept], -start[:, :kept], spare.to(start)], 1)
        out = torch.zeros(self.hidden, width).to(start)
        out[:kept], out[kept : 2 * kept] = torch.eye(kept, width), -torch.eye(kept, width)
        biases = {f"{name}.bias": first.new_zeros(self.hidden), f"{name}.out_bias": 0 * out[0]}
        return {name: first, f"{name}.out": out, **(biases if self.bias else {})}

    def tail(self, theta: Mapping[str, Tensor], name: str, z: Tensor, x: Tensor) -> Tensor:
        """relu(z + b) V + c."""
        if not self.bias:
            return F.relu(z) @ theta[f"{name}.out"]
        hidden = F.relu(z + theta[f"{name}.bias"].unsqueeze(-2))
        return hidden @ theta[f"{name}.out"] + theta[f"{name}.out_bias"].unsqueeze(-2)


@dataclass(frozen=True, slots=True)
class Residual:
    """y = x S + (x U) V: S stays as it started, and a correction of low rank learns.

    U (d, rank) starts random and V (rank, width) at zero, as in LoRA (Hu et al., arXiv:2106.09685).
    """

    rank: int

    def learns(self, name: str) -> tuple[str, ...]:
        """U and V."""
        return (name, f"{name}.up")

    def begin(self, name: str, start: Tensor, generator: torch.Generator) -> Theta:
        """S, U random, V = 0."""
        d, width = start.shape
        down = torch.randn(d, self.rank, generator=generator).to(start) / d**0.5
        up = start.new_zeros(self.rank, width)
        return {name: down, f"{name}.up": up, f"{name}.start": start.contiguous()}

    def tail(self, theta: Mapping[str, Tensor], name: str, z: Tensor, x: Tensor) -> Tensor:
        """x S + z V, z = x U."""
        return x @ theta[f"{name}.start"] + z @ theta[f"{name}.up"]


@dataclass(frozen=True, slots=True)
class Through:
    """y = (x A) W: a map A to the other modality's input, then that modality's linear head W."""

    other: str

    def learns(self, name: str) -> tuple[str, ...]:
        """A and W."""
        return (name, self.other)

    def begin(self, name: str, start: Tensor, generator: torch.Generator) -> Theta:
        """A alone; W belongs to the other head."""
        return {name: start.contiguous()}

    def tail(self, theta: Mapping[str, Tensor], name: str, z: Tensor, x: Tensor) -> Tensor:
        """z W."""
        return product(z, theta[self.other])


def project(head: Head, theta: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    """Embeddings (..., n, width) of rows (..., n, d), not yet unit."""
    return head.tail(theta, name, product(x, theta[name]), x)


def product(x: Tensor, w: Tensor) -> Tensor:
    """x @ w; where each of several tasks has its own w (T, d, h), rows (T, ..., d) of any depth."""
    if w.dim() > 2 and x.dim() > w.dim():
        return (x.flatten(1, -2) @ w).reshape(*x.shape[:-1], w.shape[-1])
    return x @ w


def prototypes(z: Tensor, labels: Tensor, n_way: int) -> Tensor:
    """Unit class means as a classifier: rows (T, n, w) of labels (T, n) to (T, w, n_way).

    A class that no label names, as noise may leave it, has a mean of zeros.
    """
    return F.normalize(z.mT @ F.one_hot(labels, n_way).to(z), dim=-2)
