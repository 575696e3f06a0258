from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(autouse=True, scope="module")
def single_precision() -> Iterator[None]:
    """Where a processor multiplies bfloat16 encoders take that, and equal nothing to 1e-5."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xmg.extract.encoders.device.pick_compute", lambda device: "float32")
        yield


@pytest.fixture(scope="session")
def real() -> Callable[[str], Path]:
    """Path of a real data set or weights file, or a skip where it is not on this machine."""

    def find(name: str) -> Path:
        path = _DATA / name
        if not path.exists():
            pytest.skip(f"real data absent: {path}")
        return path

    return find
