"""Any Hugging Face model that sees, with the image processor saved beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from transformers import AutoImageProcessor, AutoModel

from xmg.extract.encoders.device import Runner
from xmg.extract.encoders.groups import by_shape
from xmg.extract.encoders.huggingface import load_whole, shown_name
from xmg.extract.encoders.image_file import IMAGE, middle, read_image
from xmg.extract.encoders.readout import Readout, asked
from xmg.extract.encoders.weights import digest
from xmg.extract.types import Content, Features, Modality

_SKIPPED: Final = ("processor_class", "image_processor_type", "feature_extractor_type")


class ImageModelEncoder:
    """The model's own processor, the model, and poolings of its states."""

    modality: Modality = "image"
    batch_size = 32
    packages = ("pillow", "torchvision", "transformers")

    def __init__(
        self,
        name: str,
        model: Any,
        processor: Any,
        readout: Readout,
        *,
        device: str | None = None,
    ) -> None:
        self.name, self.processor, self.readout = name, processor, readout
        self.sequences = readout.sequences
        self.runner = Runner.pick(device)
        # some versions of transformers note inner states on the model itself
        self.at_once = 1 if readout.inner else self.runner.at_once()
        self.weights_sha256 = digest(model.state_dict())
        self.model = model.to(self.runner.device)
        blank = self.decode(np.zeros((64, 64, 3), np.uint8))
        widths = [part.shape[-1] for part in self._parts([blank])]
        self.dim = sum(widths)
        recipe = {k: v for k, v in processor.to_dict().items() if k not in _SKIPPED}
        self.preprocessing: Mapping[str, Any] = {
            "processor": recipe,
            **IMAGE,
            **readout.recipe(widths),
            "compute": self.runner.compute,
        }

    def decode(self, content: Content) -> Features:
        """Read one image as the model takes it, (3, H, W); raises RejectError."""
        image = read_image(content)
        if "shortest_edge" in (getattr(self.processor, "size", None) or {}):
            image = middle(image)
        values = self.processor(images=image, return_tensors="np")["pixel_values"]
        return np.asarray(values[0], np.float32)

    def encode(self, batch: Sequence[Features]) -> Sequence[Features]:
        """Map each image to (dim,) float32, or to its tokens (T, dim)."""
        features: list[Features] = [np.empty(self.dim, np.float32)] * len(batch)
        for places in by_shape([pixels.shape for pixels in batch], self.batch_size):
            found = torch.cat(self._parts([batch[i] for i in places]), -1).cpu().numpy()
            for i, vectors in zip(places, found, strict=True):
                features[i] = vectors
        return features

    def _parts(self, batch: Sequence[Features]) -> list[Tensor]:
        with self.runner.computing():
            pixels = self.runner.moved(np.stack(batch))
            output = self.model(pixel_values=pixels, output_hidden_states=self.readout.inner)
            return self.readout.read(output)


def load(
    name: str,
    *,
    weights: Path | str | None = None,
    pooling: str | None = None,
    layers: str | None = None,
    device: str | None = None,
    kind: Any = AutoModel,
    trust_remote_code: bool = False,
) -> ImageModelEncoder:
    """Return a Hugging Face name or folder; see `asked` for pooling and layers.

    By default the model's pooler, or without a trained one the mean. weights: a local folder to
    load in place of `name`. kind: the class of its image part. Raises XmgError where the model
    cannot be had.
    """
    processor, model = load_whole(AutoImageProcessor, kind, name, weights, trust_remote_code)
    default = "mean" if layers or getattr(model, "pooler", None) is None else "pooler"
    readout = asked(layers, pooling, default)
    return ImageModelEncoder(shown_name(name), model, processor, readout, device=device)
