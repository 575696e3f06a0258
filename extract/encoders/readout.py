"""What of a network's states becomes features: layers times poolings, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import torch
from torch import Tensor

from xmg.cache import XmgError

POOLINGS: Final = ("mean", "cls", "pooler", "none")
LAST: Final = -1


@dataclass(frozen=True, slots=True)
class Readout:
    """Poolings of layers; layer i is the output of block i, 0 that of the embedding, -1 the last.

    mean: over tokens, padding left out, or over places of a map. cls: the first token. pooler: what
    the model itself makes of its last layer. none: all tokens, a sequence of vectors for each
    input, which stands alone.
    """

    layers: tuple[int, ...] = (LAST,)
    poolings: tuple[str, ...] = ("mean",)

    def __post_init__(self) -> None:
        for pooling in self.poolings:
            if pooling not in POOLINGS:
                raise XmgError(f"no pooling {pooling!r}. fix: one of {', '.join(POOLINGS)}")
        if "none" in self.poolings and len(self.layers) * len(self.poolings) > 1:
            raise XmgError(
                "pooling none gives sequences, which cannot stand side by side with others. "
                "fix: one layer and --pooling none, into a file of its own"
            )
        if "pooler" in self.poolings and self.layers != (LAST,):
            raise XmgError("pooling pooler is of the last layer. fix: leave out --layers")

    @property
    def sequences(self) -> bool:
        """Whether an input becomes (T, dim) rather than (dim,)."""
        return self.poolings == ("none",)

    @property
    def inner(self) -> bool:
        """Whether states before the last are read."""
        return self.layers != (LAST,)

    def recipe(self, widths: Sequence[int]) -> dict[str, Any]:
        """What a feature file should know; widths of the parts where there are several."""
        found: dict[str, Any] = {"pooling": ",".join(self.poolings)}
        if self.inner:
            found["layers"] = list(self.layers)
        if len(widths) > 1:
            found["parts"] = dict(zip(self.parts(), widths, strict=True))
        return found

    def parts(self) -> list[str]:
        """Names of what stands side by side, such as "layer 6 mean"."""
        return [f"layer {i} {p}".replace("layer -1", "last") for i, p in self._each()]

    def read(self, output: Any, mask: Tensor | None = None) -> list[Tensor]:
        """Features (B, d) of each part; of "none" the states (B, T, d).

        output: a transformers model's. mask (B, T): 1 where a token is, 0 where padding is.
        """
        return [self._part(output, layer, pooling, mask) for layer, pooling in self._each()]

    def _each(self) -> list[tuple[int, str]]:
        return list(product(self.layers, self.poolings))

    def _part(self, output: Any, layer: int, pooling: str, mask: Tensor | None) -> Tensor:
        if pooling == "pooler":
            pooled = getattr(output, "pooler_output", None)
            if pooled is None:
                raise XmgError("this model has no trained pooler. fix: --pooling mean")
            return torch.flatten(pooled.float(), 1)
        states = _tokens(_layer(output, layer))
        if pooling == "none":
            return states
        if pooling == "cls":
            return states[:, 0]
        if mask is None:
            return states.mean(1)
        weight = mask[:, :, None].float()
        pooled_states: Tensor = (states * weight).sum(1) / weight.sum(1)
        return pooled_states


def asked(layers: str | None, pooling: str | None, default: str) -> Readout:
    """A Readout of options, such as "6,12" and "mean,cls"; raises XmgError for others."""
    try:
        numbers = tuple(int(part) for part in layers.split(",")) if layers else (LAST,)
    except ValueError:
        raise XmgError(f"{layers!r} are no layers. fix: numbers, such as --layers 6,12") from None
    poolings = tuple(part.strip() for part in (pooling or default).split(","))
    for given, what in ((numbers, "--layers"), (poolings, "--pooling")):
        if len(set(given)) < len(given):
            raise XmgError(f"{what} names one twice. fix: name each once")
    return Readout(numbers, poolings)


def _layer(output: Any, layer: int) -> Tensor:
    """The states after a block; the last with the normalisation that the model ends in."""
    if layer == LAST:
        last: Tensor = output.last_hidden_state
        return last
    states = output.hidden_states
    if not 0 <= layer < len(states):
        raise XmgError(f"there is no layer {layer}. fix: --layers 0 to {len(states) - 1}, or -1")
    found: Tensor = states[layer]
    return found


def _tokens(states: Tensor) -> Tensor:
    """(B, T, d) of tokens as they are, of a map (B, d, H, W) its places."""
    return (states if states.ndim == 3 else states.flatten(2).mT).float()
