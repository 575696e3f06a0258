"""What networks free is there for their next pass, without a page fault."""

import os
import platform
import subprocess
import sys

import pytest

PASSES = """
import ctypes, resource, sys, threading
import xmg.cli.heap
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: a large page is one fault, not 512
if "told" in sys.argv:
    xmg.cli.heap.keep_freed_memory()
import numpy as np  # brings threads along

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def passes():
    np.ones(70 << 20, np.uint8)  # more than a thread's own heap holds
    before = faults()
    for _ in range(8):
        np.ones(70 << 20, np.uint8)
    print(faults() - before)

passes()
thread = threading.Thread(target=passes)
thread.start()
thread.join()
"""
BLOCK = (70 << 20) // os.sysconf("SC_PAGE_SIZE")  # a page fault each

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc")


def faults(*arguments, **environment):
    kept = {k: v for k, v in os.environ.items() if "MALLOC" not in k and k != "GLIBC_TUNABLES"}
    out = subprocess.run(
        [sys.executable, "-c", PASSES, *arguments], env=kept | environment, capture_output=True,
        text=True, check=True,
    ).stdout  # fmt: skip
    return [int(line) for line in out.split()]


def test_freed_memory_is_kept_for_all_threads():
    alone, in_thread = faults("told")
    assert alone < BLOCK / 10
    assert in_thread < BLOCK / 10


@pytest.mark.parametrize(
    "environment",
    [
        {"MALLOC_ARENA_TEST": "8"},
        {"GLIBC_TUNABLES": "glibc.malloc.arena_test=8"},
    ],
)
def test_what_the_environment_says_of_malloc_stands(environment):
    by_itself = faults()
    told = faults("told", **environment)
    assert all(a > b / 2 for a, b in zip(told, by_itself, strict=True))
    assert max(by_itself) > BLOCK  # or the first test could not fail
