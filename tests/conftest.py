import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # before libraries read it: processes share the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import settings

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

settings.register_profile("xmg", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("xmg")


@pytest.fixture(autouse=True)
def wrapping_words() -> Iterator[None]:
    """Kernels wrap around 2**64 by design; NumPy warns of it where the JIT is off."""
    with np.errstate(over="ignore"):
        yield


@pytest.fixture
def set_torch_threads() -> Iterator[Callable[[int], None]]:
    """torch.set_num_threads, put back at the end."""
    import torch

    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def wordnet_folder(tmp_path_factory):
    """A folder as nltk keeps it, with WordNet 3.0."""
    pytest.importorskip("nltk")
    packed = DATA / "wordnet" / "wordnet30.tar.xz"
    if not packed.exists():
        pytest.skip(f"WordNet is absent: {packed}")
    folder = tmp_path_factory.mktemp("nltk_data")
    with tarfile.open(packed) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # from Python 3.11.4
        archive.extractall(folder / "corpora")
    return folder
