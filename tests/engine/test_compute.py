"""Threads and memory of the numerical loops."""

import gc
import subprocess
import sys
import weakref
from threading import Barrier, Thread

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from xmg.engine import compute
from xmg.engine.compute import flushed_denormals, one_blas_thread, one_thread_each
from xmg.engine.inner import scratch


@pytest.fixture
def two_threads(set_torch_threads):
    set_torch_threads(2)


def test_callers_that_overlap_leave_torch_its_threads(two_threads):
    """One enters, another thread starts and enters, the first leaves, the second leaves."""
    second_is_in, first_is_out = Barrier(2), Barrier(2)
    found = []

    def second():
        with one_thread_each(3) as each:
            found.extend([torch.get_num_threads(), *each(lambda i: 2 * i, range(3))])
            second_is_in.wait()
            first_is_out.wait()
        found.append(torch.get_num_threads())

    other = Thread(target=second)
    with one_thread_each(3):
        assert torch.get_num_threads() == 1
        other.start()
        second_is_in.wait()
    assert torch.get_num_threads() == 2
    first_is_out.wait()
    other.join()
    assert found == [1, 0, 2, 4, 2]
    later = Thread(target=lambda: found.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert found[-1] == torch.get_num_threads() == 2


def test_threads_come_back_after_an_error(two_threads):
    with pytest.raises(ZeroDivisionError), one_thread_each(2) as each:
        list(each(lambda i: 1 / i, [1, 0]))
    assert torch.get_num_threads() == 2


def test_calls_begin_in_order_and_are_told_in_order(two_threads):
    both, began = Barrier(2), []

    def call(i):
        began.append(i)
        if i < 2:
            both.wait(10)  # side by side, or this breaks
        return i * i

    with one_thread_each(5) as each:
        assert list(each(call, range(5))) == [0, 1, 4, 9, 16]
        assert set(began[:2]) == {0, 1}
        assert list(each(call, [])) == []


def test_of_two_errors_the_first_task_s_is_raised_and_no_other_task_begins(two_threads):
    both, began = Barrier(2), []

    def call(i):
        began.append(i)
        both.wait(10)
        raise ValueError(str(i))

    with one_thread_each(9) as each:
        with pytest.raises(ValueError, match="0"):
            each(call, range(9))
        assert sorted(began) == [0, 1]
        assert list(each(abs, [-1, -2])) == [1, 2]  # the threads are still there


def test_an_interrupt_is_raised_before_any_error_and_nothing_more_begins(two_threads):
    both, began = Barrier(2), []

    def call(i):
        began.append(i)
        both.wait(10)
        raise ValueError if i == 0 else KeyboardInterrupt

    with one_thread_each(9) as each, pytest.raises(KeyboardInterrupt):
        each(call, range(9))
    assert sorted(began) == [0, 1]


def test_an_interrupt_between_calls_leaves_none_to_begin(two_threads, monkeypatch):
    """It may come anywhere in the calling thread: here, while that waits for the others."""

    def interrupted(futures):
        raise KeyboardInterrupt

    monkeypatch.setattr(compute, "wait", interrupted)
    with one_thread_each(2) as each, pytest.raises(KeyboardInterrupt):
        each(abs, [1, 2, 3])


def test_an_error_keeps_nothing_of_the_call(two_threads):
    class Large:
        pass

    def fail(large):
        raise ValueError

    held = [Large(), Large()]
    alive = [weakref.ref(one) for one in held]
    gc.disable()
    try:
        with one_thread_each(2) as each, pytest.raises(ValueError):
            each(fail, held)
        del held
        assert not any(one() for one in alive)
    finally:
        gc.enable()


def test_all_threads_flush_denormals(two_threads):
    both = Barrier(2)

    def call(i):
        both.wait(10)
        return flushes()

    with one_thread_each(2) as each:
        assert list(each(call, range(2))) == [True, True]
    with one_thread_each(1) as each:
        assert list(each(lambda i: flushes(), range(1))) == [True]
    assert not flushes()


def test_a_thread_keeps_what_it_asked_for_last():
    made = []

    def ask(key):
        return scratch.kept(("test", key), lambda: made.append(key) or key)

    for key in range(100):
        assert ask(key) == key
        assert ask("hot") == "hot"
    assert made.count("hot") == 1 and len(made) == 101
    assert ask(99) == 99 and len(made) == 101
    assert ask(0) == 0 and len(made) == 102  # it was let go


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_memory_of_kernels_begins_at_cache_lines(dtype):
    arrays = [scratch.aligned(dtype, 3, n) for n in (1, 5, 1 << 18)]
    assert [array.shape for array in arrays] == [(3, 1), (3, 5), (3, 1 << 18)]
    assert all(array.dtype == dtype and array.ctypes.data % 64 == 0 for array in arrays)
    assert scratch.aligned(dtype, 0, 4).shape == (0, 4)
    arrays[1][:] = 7
    assert arrays[1].flags.c_contiguous and arrays[1].sum() == 105


def flushes():
    return bool(torch.tensor(1e-40) == 0)


@pytest.mark.parametrize("before", [False, True])
def test_denormals_are_flushed_inside_alone(before):
    torch.set_flush_denormal(before)
    try:
        with flushed_denormals():
            with flushed_denormals():
                assert flushes()
            assert flushes()
        assert flushes() == before
    finally:
        torch.set_flush_denormal(False)


def blas_threads():
    return {lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"}


def test_products_of_numpy_take_one_thread_inside_alone():
    with threadpool_limits(2, "blas"):
        before = blas_threads()
        with pytest.raises(KeyError), one_blas_thread():
            assert blas_threads() == {1}
            raise KeyError
        assert blas_threads() == before


def test_callers_that_overlap_leave_blas_its_threads():
    """The first leaves before the second, which found the 1 of the first."""
    with threadpool_limits(2, "blas"):
        before = blas_threads()
        first, second = one_blas_thread(), one_blas_thread()
        for one in (first, second):
            one.__enter__()
        first.__exit__(None, None, None)
        assert blas_threads() == {1}
        second.__exit__(None, None, None)
        assert blas_threads() == before


def test_torch_works_in_a_forked_child():
    """It would wait for the threads that shared its parent's product; they are not there."""
    done = subprocess.run(
        [sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == "1 True\n", done.stderr


FORKED = """
import os
import signal
import torch
import xmg.engine.compute

torch.set_num_threads(2)
x = torch.ones(600, 600)
expected = (x @ x).exp().sum()
child = os.fork()
if not child:
    signal.alarm(60)  # or it would outlive the test
    print(torch.get_num_threads(), bool((x @ x).exp().sum() == expected), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""
