"""Read the plain data of a CIFAR batch from a pickle without running anything it says.

A pickle is a program: it can call whatever it can name. Here it can name five things, and
each stands for a harmless object of ours, so not even numpy's own loaders are reached.
"""

import pickle
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn

import numpy as np
import numpy.typing as npt

from xmg.cache import XmgError


class _Dtype:
    """Stands for numpy.dtype; only remembers its code."""

    def __init__(self, code: bytes | str, *_: object) -> None:
        self.code = code.decode() if isinstance(code, bytes) else code

    def __setstate__(self, state: object) -> None:
        """Byte order and flags do not matter for bytes."""


class _Array:
    """Stands for numpy.ndarray, before and after its state is known."""

    def __init__(self, *_: object) -> None:
        self.value: npt.NDArray[np.uint8] | None = None

    def __setstate__(self, state: tuple[Any, tuple[int, ...], _Dtype, bool, bytes]) -> None:
        _, shape, dtype, is_fortran, raw = state
        if dtype.code not in ("u1", "uint8"):
            raise ValueError(f"an array of {dtype.code} where bytes were expected")
        self.value = np.frombuffer(raw, np.uint8).reshape(shape, order="F" if is_fortran else "C")


def _reconstruct(*_: object) -> _Array:
    """Stand for numpy.core.multiarray._reconstruct."""
    return _Array()


def _from_buffer(raw: bytes, dtype: _Dtype, shape: tuple[int, ...], order: str) -> _Array:
    """Stand for numpy.core.numeric._frombuffer, of pickle protocol 5."""
    array = _Array()
    array.__setstate__((None, shape, dtype, order == "F", raw))
    return array


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Stand for _codecs.encode, by which Python 3 writes bytes in old protocols."""
    if encoding != "latin1":
        raise ValueError(f"bytes encoded as {encoding}")
    return text.encode("latin1")


_ALLOWED: Final[dict[tuple[str, str], object]] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    ("_codecs", "encode"): _encode,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, path: Path) -> None:
        super().__init__(file, encoding="bytes")
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        """Return our stand-in; raises XmgError for any other name."""
        if (module, name) not in _ALLOWED:
            raise XmgError(
                f"{self.path} is a pickle that names {module}.{name}, which no CIFAR batch holds; "
                f"it was not loaded. fix: download the data again, or use the binary version"
            )
        return _ALLOWED[module, name]

    def persistent_load(self, pid: object) -> NoReturn:
        """Refuse references to outside objects."""
        raise ValueError("it refers to objects outside the file")


def load_batch(path: Path) -> dict[str, Any]:
    """Load one pickled dict: text keys, plain values, uint8 arrays.

    Raises XmgError where the file is missing, damaged, or holds anything else.
    """
    try:
        with path.open("rb") as file:
            loaded = _Unpickler(file, path).load()
        if not isinstance(loaded, dict):
            raise TypeError(f"it holds a {type(loaded).__name__}")
        return {_plain(key): _plain(value) for key, value in loaded.items()}
    except XmgError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise XmgError(f"{path} is not a readable CIFAR batch: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.decode("utf-8") if isinstance(value, bytes) else value
