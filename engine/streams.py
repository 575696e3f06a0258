"""One seed, and independent streams below it."""

from enum import IntEnum

import numpy as np

from xmg.engine.kernels.rng import child


class Stream(IntEnum):
    """The independent uses of one seed."""

    ALIGN = 1
    CLASSIFY = 2
    VALIDATION = 3
    TEST_CLASSES = 4
    TEST_ROWS = 5
    PRETRAINING = 6
    HEADS = 7
    TARGET = 8
    NOISE = 9
    THINNING = 10
    ADVICE = 11


def key_of(seed: int, stream: Stream) -> np.uint64:
    """Return the key of one stream below a seed."""
    return child_key(np.uint64(seed), int(stream))


def generator(seed: int, stream: Stream) -> np.random.Generator:
    """NumPy's random numbers of one stream, for what is drawn once and whole."""
    return np.random.Generator(np.random.Philox(int(key_of(seed, stream))))


def child_key(key: np.uint64, i: int) -> np.uint64:
    """The key of stream i below a key."""
    return np.uint64(child(key, i))  # compiled code hands back a Python int
