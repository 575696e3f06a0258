"""What extraction is timed against: the loop that everyone writes, one DataLoader and no more."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import soundfile
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from xmg.extract.encoders.image import ImageEncoder
from xmg.extract.encoders.text import TextEncoder
from xmg.extract.encoders.yamnet import YamnetEncoder, log_mel

Script = Callable[[Path], object]


class Inputs(Dataset[Any]):
    """Items of a list, each prepared by a function in a worker."""

    def __init__(self, items: Sequence[Any], prepare: Callable[[Any], Any]) -> None:
        self.items, self.prepare = items, prepare

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Any:
        return self.prepare(self.items[i])


def script(encoder: Any, model: nn.Module, contents: Sequence[Any], workers: int) -> Script:
    """The loop for an encoder: `model` is its network as it was loaded, in eager float32."""
    batches = {ImageEncoder: _images, TextEncoder: _texts, YamnetEncoder: _recordings}
    loop = batches[type(encoder)]

    def run(out: Path) -> None:
        with torch.inference_mode():
            features = torch.cat(list(loop(encoder, model, contents, workers)))
        with h5py.File(out, "w") as file:
            file["features"] = features.numpy()

    return run


def _images(
    encoder: ImageEncoder, model: nn.Module, paths: Sequence[Path], workers: int
) -> Iterator[Tensor]:
    recipe = encoder.preprocessing
    interpolation = transforms.InterpolationMode(recipe["interpolation"])
    transform = transforms.Compose(
        [
            transforms.Resize(recipe["resize"], interpolation),
            transforms.CenterCrop(recipe["crop"]),
            transforms.ToTensor(),
            transforms.Normalize(recipe["mean"], recipe["std"]),
        ]
    )
    pictures = Inputs(paths, lambda path: transform(Image.open(path).convert("RGB")))
    for x in DataLoader(pictures, batch_size=64, num_workers=workers):
        yield model(x)


def _texts(
    encoder: TextEncoder, model: nn.Module, texts: Sequence[str], workers: int
) -> Iterator[Tensor]:
    def collate(batch: list[str]) -> Any:
        limit = encoder.recipe.max_length
        return encoder.tokenizer(
            batch, padding=True, truncation=True, max_length=limit, return_tensors="pt"
        )

    loader = DataLoader(Inputs(texts, str), batch_size=64, num_workers=workers, collate_fn=collate)
    for tokens in loader:
        states = model(**tokens).last_hidden_state
        mask = tokens["attention_mask"][..., None]
        mean = (states * mask).sum(1) / mask.sum(1)
        yield nn.functional.normalize(mean, dim=-1)


def _recordings(
    encoder: YamnetEncoder, model: nn.Module, paths: Sequence[Path], workers: int
) -> Iterator[Tensor]:
    def patches(path: Path) -> Tensor:
        samples, _ = soundfile.read(path, dtype="float32")  # 16 kHz mono, as the network wants
        return log_mel(torch.from_numpy(samples)).unfold(0, 96, 48).transpose(1, 2)

    # one by one, as recordings differ in length
    for batch in DataLoader(Inputs(paths, patches), batch_size=None, num_workers=workers):
        yield model(batch[:, None]).mean(0, keepdim=True)  # (P, 1, 96, 64) to (1, 1024)
