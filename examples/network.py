"""A frozen encoder of our own: a network that we trained, as safetensors."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torchvision.models import resnet18
from torchvision.transforms import v2

from xmg.extract.types import Content

WEIGHTS = Path("network.safetensors")


class Network:
    """The last pooled layer of a ResNet-18 with weights of our own."""

    name = "my-resnet18"
    modality = "image"
    dim = 512
    sequences = False
    batch_size = 32
    preprocessing: Mapping[str, Any] = {"resize": 256, "crop": 224, "normalise": "ImageNet"}

    def __init__(self) -> None:
        self.weights_sha256 = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        network = resnet18()
        network.fc = torch.nn.Identity()
        network.load_state_dict(load_file(WEIGHTS))
        self.network = network.eval().to(self.device)
        self.prepare = v2.Compose(
            [
                v2.Resize(256), v2.CenterCrop(224), v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ]
        )  # fmt: skip

    def decode(self, content: Content) -> torch.Tensor:
        """Read one photo; called from several threads. What it raises becomes a reject."""
        photo = Image.open(content) if isinstance(content, Path) else Image.fromarray(content)
        return self.prepare(photo.convert("RGB"))

    @torch.inference_mode()
    def encode(self, batch: Sequence[torch.Tensor]) -> np.ndarray:
        """Map a batch to float32 rows (n, 512)."""
        return self.network(torch.stack(list(batch)).to(self.device)).float().cpu().numpy()


def load() -> Network:
    """What --encoder network:load calls."""
    return Network()
