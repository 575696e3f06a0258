"""LSTM heads for sequences of frames (Hochreiter, Schmidhuber, Neural Computation 1997)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from xmg.engine.model.heads import Theta, product


@dataclass(frozen=True, slots=True)
class LSTM:
    """y = max over time of the last layer's states, times V, plus c.

    Frames (..., n, L, d + 1) hold a last column that is 1 on frames and 0 on padding, whose weights
    are the first layer's bias. With `bidirectional` each layer also runs backwards. A step, with
    s the logistic:

        i, f, g, o = z_t + h U,   c <- s(f) c + s(i) tanh(g),   h <- s(o) tanh(c).
    """

    hidden: int
    n_layers: int = 1
    bidirectional: bool = False

    @property
    def n_ways(self) -> int:
        """Directions that a layer runs in."""
        return 2 if self.bidirectional else 1

    def learns(self, name: str) -> tuple[str, ...]:
        """W and U of each layer, biases, V and c."""
        later = [f"{name}.{part}{k}" for k in range(1, self.n_layers) for part in ("in", "bias")]
        states = [f"{name}.state{k}" for k in range(self.n_layers)]
        return (name, *later, *states, f"{name}.out", f"{name}.out_bias")

    def begin(self, name: str, start: Tensor, generator: torch.Generator) -> Theta:
        """Uniform within 1 / sqrt(hidden), as torch.nn.LSTM; of `start` only the shape counts."""
        d, width = start.shape
        gates, states = self.n_ways * 4 * self.hidden, self.n_ways * self.hidden
        shapes: dict[str, tuple[int, ...]] = {name: (d, gates)}
        for k in range(self.n_layers):
            if k:
                shapes |= {f"{name}.in{k}": (states, gates), f"{name}.bias{k}": (gates,)}
            shapes[f"{name}.state{k}"] = (self.n_ways, self.hidden, 4 * self.hidden)
        shapes |= {f"{name}.out": (states, width), f"{name}.out_bias": (width,)}
        scale = self.hidden**-0.5
        return {
            part: ((2 * torch.rand(shape, generator=generator) - 1) * scale).to(start)
            for part, shape in shapes.items()
        }

    def tail(self, theta: Mapping[str, Tensor], name: str, z: Tensor, x: Tensor) -> Tensor:
        """What follows the first layer's product with the frames."""
        mask = x[..., -1:]
        states = self._layer(z, theta[f"{name}.state0"], mask)
        for k in range(1, self.n_layers):
            bias = theta[f"{name}.bias{k}"].unsqueeze(-2).unsqueeze(-2)
            z = product(states, theta[f"{name}.in{k}"]) + bias
            states = self._layer(z, theta[f"{name}.state{k}"], mask)
        held = states.masked_fill(mask == 0, -torch.inf).amax(-2)
        pooled = torch.where(mask.amax(-2) > 0, held, 0)  # no frame at all: nothing
        return pooled @ theta[f"{name}.out"] + theta[f"{name}.out_bias"].unsqueeze(-2)

    def _layer(self, z: Tensor, weights: Tensor, mask: Tensor) -> Tensor:
        """States (..., n, L, n_ways hidden) of one layer."""
        ways = [
            _run(part, weights[..., way, :, :], mask, backwards=way == 1)
            for way, part in enumerate(z.chunk(self.n_ways, -1))
        ]
        return torch.cat(ways, -1)


def _run(z: Tensor, weights: Tensor, mask: Tensor, backwards: bool) -> Tensor:
    """States (..., n, L, hidden) in one direction; padding leaves a state as it was."""
    n_frames = z.shape[-2]
    h = c = z.new_zeros(*z.shape[:-2], z.shape[-1] // 4)
    states = [h] * n_frames
    for t in reversed(range(n_frames)) if backwards else range(n_frames):
        i, f, g, o = (z[..., t, :] + h @ weights).chunk(4, -1)
        cell = f.sigmoid() * c + i.sigmoid() * g.tanh()
        here = mask[..., t, :]
        c = torch.lerp(c, cell, here)
        h = torch.lerp(h, o.sigmoid() * cell.tanh(), here)
        states[t] = h
    return torch.stack(states, -2)
