"""Layout "cifar": CIFAR-10 and CIFAR-100, binary and Python versions."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from xmg.cache import XmgError
from xmg.extract.sources.published import absent
from xmg.extract.sources.safe_pickle import load_batch
from xmg.extract.sources.samples import Samples
from xmg.extract.types import Source

_PIXELS: Final = 3 * 32 * 32
_TEN: Final = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
_HUNDRED: Final = ("train", "test")
_INNER: Final = (
    "cifar-10-batches-bin",
    "cifar-10-batches-py",
    "cifar-100-binary",
    "cifar-100-python",
)
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Version:
    """One of the four published forms: its meta files and its batch files."""

    fine: tuple[str, str]  # file, and the key where that file is a pickle
    coarse: tuple[str, str] | None
    batches: tuple[str, ...]
    suffix: str

    @property
    def is_pickle(self) -> bool:
        return not self.suffix

    def present(self, folder: Path) -> list[Path]:
        files = [folder / f"{name}{self.suffix}" for name in self.batches]
        return [f for f in files if f.is_file()] if (folder / self.fine[0]).is_file() else []


@dataclass(frozen=True, slots=True)
class _Batch:
    """pixels (n, 3072) uint8 as red, green, blue planes; fine and coarse (n,) class numbers."""

    pixels: Bytes
    fine: npt.NDArray[np.int64]
    coarse: npt.NDArray[np.int64] | None


_VERSIONS: Final = (
    _Version(("batches.meta.txt", ""), None, _TEN, ".bin"),
    _Version(("batches.meta", "label_names"), None, _TEN, ""),
    _Version(("fine_label_names.txt", ""), ("coarse_label_names.txt", ""), _HUNDRED, ".bin"),
    _Version(("meta", "fine_label_names"), ("meta", "coarse_label_names"), _HUNDRED, ""),
)


def find_cifar(root: Path) -> Path | None:
    """Return the folder with the batches: `root`, or the archive's own folder inside it."""
    for folder in (root, *(root / name for name in _INNER)):
        if any(version.present(folder) for version in _VERSIONS):
            return folder
    return None


def open_cifar(root: Path) -> Source:
    """List every batch there is, in the published order; ids are like `test_batch/000123`.

    Content is (32, 32, 3) uint8. The label is the fine class; CIFAR-100 has a column "coarse".
    Raises XmgError where no batch is found, or one is damaged.
    """
    folder = find_cifar(root)
    if folder is None:
        raise absent(
            "cifar",
            f"{root} holds no CIFAR batches: looked for data_batch_1.bin, train.bin, data_batch_1 "
            f"or train, beside their label names",
        )
    version = next(v for v in _VERSIONS if v.present(folder))
    files = version.present(folder)
    batches = [_read(file, version) for file in files]
    ids = [
        f"{f.stem}/{i:06d}" for f, b in zip(files, batches, strict=True) for i in range(len(b.fine))
    ]
    labels = _names(folder, version, version.fine, np.concatenate([b.fine for b in batches]))
    columns = {}
    if version.coarse:
        coarse = np.concatenate([b.coarse for b in batches if b.coarse is not None])
        columns["coarse"] = _names(folder, version, version.coarse, coarse)
    starts = [0, *accumulate(len(b.fine) for b in batches)]
    content = partial(_image, [b.pixels for b in batches], starts)
    return Source(f"cifar{100 if version.coarse else 10}", Samples(ids, labels, content), columns)


def _read(file: Path, version: _Version) -> _Batch:
    return _read_pickle(file, version) if version.is_pickle else _read_binary(file, version)


def _read_binary(file: Path, version: _Version) -> _Batch:
    """Records of coarse label (CIFAR-100 only), fine label, pixels: one byte each."""
    n_labels = 2 if version.coarse else 1
    size, record = file.stat().st_size, n_labels + _PIXELS
    if not size or size % record:
        raise XmgError(
            f"{file} has {size} bytes, not a multiple of {record}. fix: download the data again"
        )
    rows = np.memmap(file, np.uint8, "r", shape=(size // record, record))
    fine = rows[:, n_labels - 1].astype(np.int64)
    coarse = rows[:, 0].astype(np.int64) if version.coarse else None
    return _Batch(rows[:, n_labels:], fine, coarse)


def _read_pickle(file: Path, version: _Version) -> _Batch:
    batch = load_batch(file)
    fine = _numbers(file, batch, "fine_labels" if version.coarse else "labels")
    coarse = _numbers(file, batch, "coarse_labels") if version.coarse else None
    pixels = batch.get("data")
    if not isinstance(pixels, np.ndarray) or pixels.shape != (len(fine), _PIXELS):
        raise XmgError(f"{file} holds no ({len(fine)}, {_PIXELS}) bytes under 'data'")
    return _Batch(pixels, fine, coarse)


def _numbers(file: Path, batch: dict[str, Any], key: str) -> npt.NDArray[np.int64]:
    values = batch.get(key)
    if not isinstance(values, list) or not all(isinstance(v, int) for v in values):
        raise XmgError(f"{file} holds no list of numbers under {key!r}")
    return np.array(values, dtype=np.int64)


def _names(
    folder: Path, version: _Version, meta: tuple[str, str], codes: npt.NDArray[np.int64]
) -> list[str]:
    """Class names of codes (n,); raises XmgError where a code has no name."""
    file = folder / meta[0]
    names = load_batch(file).get(meta[1]) if version.is_pickle else file.read_text().split()
    if (
        not isinstance(names, list)
        or not len(codes)
        or not 0 <= codes.min() <= codes.max() < len(names)
    ):
        raise XmgError(f"{file} does not name every class of its batches. fix: download it again")
    return [str(names[code]) for code in codes.tolist()]


def _image(pixels: Sequence[Bytes], starts: Sequence[int], row: int) -> Bytes:
    """Row -> (32, 32, 3)."""
    batch = bisect_right(starts, row) - 1
    planes = pixels[batch][row - starts[batch]].reshape(3, 32, 32)
    return np.ascontiguousarray(planes.transpose(1, 2, 0))
