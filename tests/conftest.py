import os
from collections.abc import Iterator

if "PYTEST_XDIST_WORKER" in os.environ:  # before libraries read it: processes share the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("xmg", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("xmg")


@pytest.fixture(autouse=True)
def wrapping_words() -> Iterator[None]:
    """Kernels wrap around 2**64 by design; NumPy warns of it where the JIT is off."""
    with np.errstate(over="ignore"):
        yield
