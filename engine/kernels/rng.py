"""Counter-based random words: word i of a stream is a pure function of (key, i).

splitmix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014):
no state, so episodes are the same whatever the number of threads, workers or resumes.
"""

import numpy as np
from numba import njit

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_A, _B = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)


@njit(cache=True)
def mix(x: np.uint64) -> np.uint64:
    """Scramble one 64-bit word: the splitmix64 finalizer."""
    x = (x ^ (x >> _S30)) * _A
    x = (x ^ (x >> _S27)) * _B
    return x ^ (x >> _S31)


@njit(cache=True)
def word(key: np.uint64, i: int) -> np.uint64:
    """Return word i of stream `key`."""
    return mix(key + (np.uint64(i) + np.uint64(1)) * _GOLDEN)


@njit(cache=True)
def child(key: np.uint64, i: int) -> np.uint64:
    """Return the key of the i-th stream below `key`: unrelated to its words and siblings."""
    return mix(word(key, i) ^ _A)


@njit(cache=True)
def below(key: np.uint64, i: int, n: int) -> np.int64:
    """Map word i to {0, ..., n - 1}; the bias is under n / 2^64."""
    return np.int64(word(key, i) % np.uint64(n))
