"""Thousands of damaged files beside whole ones: each ends as a row or a reject."""

import io
import multiprocessing
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from xmg.cache import FeatureFile, decode
from xmg.extract.encoders import load_encoder
from xmg.extract.encoders.image import ImageEncoder
from xmg.extract.pipeline import extract
from xmg.extract.sources import open_source
from xmg.extract.types import Encoder, Modality

LONGEST = 300  # seconds: a hang, on any machine
PICTURES = ("jpeg", "png", "gif", "webp", "tiff", "bmp", "ppm")
SOUNDS = (("wav", "PCM_16"), ("flac", "PCM_16"), ("ogg", "VORBIS"), ("opus", "OPUS"),
          ("mp3", "MPEG_LAYER_III"), ("aiff", "PCM_24"), ("au", "FLOAT"))  # fmt: skip


def pictures() -> Iterator[tuple[str, bytes]]:
    """Small, and with the parts that parsers trip over: EXIF, profiles, palettes, frames."""
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 9, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in PICTURES:
        file, frames = io.BytesIO(), {"save_all": True, "append_images": [photo]}
        photo.save(file, kind, exif=exif, **(frames if kind in ("gif", "webp", "tiff") else {}))
        yield kind, file.getvalue()


def sounds() -> Iterator[tuple[str, bytes]]:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 4000)
    for kind, subtype in SOUNDS:
        file = io.BytesIO()
        soundfile.write(file, noise, 16_000, subtype, format="ogg" if kind == "opus" else kind)
        yield kind, file.getvalue()


def texts() -> Iterator[tuple[str, bytes]]:
    yield "txt", "Grüße, \u4f60\u597d, \U0001f44b\U0001f3fd e\u0301\n".encode() * 4


def mutant(whole: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Flip bits, cut off, splice, overwrite a field with an extreme, or repeat a part."""
    content = bytearray(whole)
    a, b = sorted(rng.integers(0, len(whole), 2).tolist())
    match rng.integers(5):
        case 0:
            for at in rng.integers(0, len(whole), rng.integers(1, 9)):
                content[at] ^= 1 << rng.integers(8)
        case 1:
            del content[a:]
        case 2:
            content[a:b] = other[a:b]
        case 3:
            at = rng.integers(0, min(len(whole), 200))  # headers come first
            extreme = rng.choice([0, 1, 2**7, 2**15, 2**31 - 1, 2**31, 2**32 - 1])
            content[at : at + 4] = int(extreme).to_bytes(4, rng.choice(["big", "little"]))
        case 4:
            content[b:b] = content[a:b] * int(rng.integers(1, 20))
    return bytes(content)


MAKERS = {"image": pictures, "audio": sounds, "text": texts}


def write(folder: Path, modality: Modality, n_mutants: int) -> None:
    """Whole files in `whole/`; before, between and after them in the listing, mutants."""
    originals = list(MAKERS[modality]())
    rng = np.random.default_rng(7)
    (folder / "whole").mkdir(parents=True)
    for i, (suffix, content) in enumerate(originals):
        (folder / "whole" / f"{suffix}.{suffix}").write_bytes(content)
        for j in range(n_mutants):
            other = originals[(i + j) % len(originals)][1]
            cage = folder / ("damaged", "whole", "zapped")[j % 3]
            cage.mkdir(exist_ok=True)
            (cage / f"mutant-{suffix}-{j:04d}.{suffix}").write_bytes(mutant(content, other, rng))


def cheap(modality: Modality) -> Encoder:
    if modality == "image":
        recipe = {"resize": 8, "crop": 6, "interpolation": "bilinear"}
        recipe |= {"mean": [0.0] * 3, "std": [1.0] * 3}
        return ImageEncoder("plain", torch.nn.Flatten(), 3 * 6**2, recipe, device="cpu")
    return load_encoder("char-ngrams" if modality == "text" else "logmel40-stats")


def run(folders: Sequence[Path], modality: Modality) -> None:
    for folder in folders:
        extract(open_source(folder, modality), cheap(modality), folder.with_suffix(".h5"))


def extracted(folders: Sequence[Path], modality: Modality) -> list[FeatureFile]:
    """Extract in another process, so that a crash of a library is seen and a hang is ended."""
    process = multiprocessing.get_context("spawn").Process(
        target=run, args=(folders, modality), daemon=True
    )
    process.start()
    process.join(LONGEST)
    assert process.exitcode == 0, "it hangs" if process.exitcode is None else "it crashed"
    return [FeatureFile(folder.with_suffix(".h5")) for folder in folders]


@pytest.mark.slow
@pytest.mark.parametrize(("modality", "n_mutants"), [("image", 150), ("audio", 150), ("text", 300)])
def test_mutants_change_no_other_row(tmp_path, modality, n_mutants):
    """2,400 mutants in all."""
    folders = tmp_path / "alone", tmp_path / "beside"
    for folder, n in zip(folders, (0, n_mutants), strict=True):
        write(folder, modality, n)
    alone, beside = extracted(folders, modality)
    n_formats = len(alone)
    assert n_formats == len(list(MAKERS[modality]()))
    assert not alone.rejects
    rows = {name: i for i, name in enumerate(decode(beside.ids))}
    ended = {*rows, *(name for name, reason in beside.rejects if reason)}
    assert len(ended) == len(rows) + len(beside.rejects) == n_formats * (n_mutants + 1)
    assert 0 < len(beside.rejects) < n_formats * n_mutants  # some harm, some do not
    for i, name in enumerate(decode(alone.ids)):
        assert alone.features[i].tobytes() == beside.features[rows[name]].tobytes()
        assert beside.class_names()[rows[name]] == "whole"
