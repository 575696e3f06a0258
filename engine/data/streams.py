"""One seed, and independent streams below it."""

from enum import IntEnum

import numpy as np
import torch

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
    SETS = 10
    ADVICE = 11
    ROWS = 12
    CLUSTERS = 13
    DECODER = 14
    DISCRIMINATOR = 15
    BORROWED = 16  # source samples of new classes
    SHOWN = 17  # what an analysis draws to show or to measure


def key_of(seed: int, stream: Stream) -> np.uint64:
    """Return the key of one stream below a seed."""
    return child_key(np.uint64(seed), int(stream))


def generator(seed: int, stream: Stream) -> np.random.Generator:
    """NumPy's random numbers of one stream, for what is drawn once and whole."""
    return np.random.Generator(np.random.Philox(int(key_of(seed, stream))))


def torch_generator(seed: int, stream: Stream) -> torch.Generator:
    """The same of torch."""
    return torch.Generator().manual_seed(int(key_of(seed, stream)) >> 1)


def child_key(key: np.uint64, i: int) -> np.uint64:
    """The key of stream i below a key."""
    return np.uint64(child(key, i))  # compiled code hands back a Python int
