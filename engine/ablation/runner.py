"""Compute cells side by side in processes; what is finished stays, what fails is marked."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from xmg.cache.writing.lock import locked
from xmg.engine.ablation.cells import FAILURE, RESULT, Cell, compute, identities_of
from xmg.engine.run import replace_text

Progress = Callable[[int, int, str], None]
Job = tuple[Path, Cell]


def run_cells(
    cells: Sequence[Cell], out: Path, n_jobs: int = 1, progress: Progress | None = None
) -> list[Path]:
    """Compute the cells that have no result yet; returns the folder of each cell.

    A cell is computed in a process of its own pool of n_jobs, one thread each, so that results do
    not depend on n_jobs. progress(done, total, label) is called as cells end. Raises XmgError where
    another run computes into `out`.
    """
    out.mkdir(parents=True, exist_ok=True)
    with locked(out / ".lock", out):
        return _run_all(cells, out, n_jobs, progress)


def _run_all(
    cells: Sequence[Cell], out: Path, n_jobs: int, progress: Progress | None
) -> list[Path]:
    identities = identities_of(list(cells))
    folders = [cell.folder(out, identities) for cell in cells]
    waiting = [(f, c) for f, c in dict(zip(folders, cells, strict=True)).items() if not _done(f)]
    total = len(set(folders))
    done = total - len(waiting)

    def ended(label: str) -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, total, label)

    if progress:
        progress(done, total, "")
    while waiting:
        suspects, waiting = _run(waiting, out, n_jobs, ended)
        for folder, cell in suspects:  # one by one, so that a death tells whose it is
            if not _done(folder):
                if n_jobs > 1 and not _run([(folder, cell)], out, 1, ended)[0]:
                    continue
                folder.mkdir(parents=True, exist_ok=True)
                replace_text(folder / FAILURE, "its process died (killed, or no memory)")
            ended(cell.label)
    return folders


def _done(folder: Path) -> bool:
    return (folder / RESULT).exists()


def _run(
    jobs: list[Job], out: Path, n_jobs: int, ended: Callable[[str], None]
) -> tuple[list[Job], list[Job]]:
    """Run until all are done, or a process dies; returns those that ran then, and those that wait.

    When one process dies the pool lets no other one finish.
    """
    left = list(jobs)
    with _pool(n_jobs) as pool:
        running: dict[Future[None], Job] = {}
        while left or running:
            while left and len(running) < n_jobs:
                job = left.pop(0)
                running[pool.submit(compute, job[1], job[0], out / "episodes")] = job
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            if any(isinstance(future.exception(), BrokenProcessPool) for future in finished):
                return list(running.values()), left
            for future in finished:
                future.result()
                ended(running.pop(future)[1].label)
    return [], []


@contextmanager
def _pool(n_jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that go after Ctrl-C, or an exit, without ending their cells first."""
    context = multiprocessing.get_context("spawn")  # threads of torch do not survive a fork
    others = multiprocessing.active_children()
    with ProcessPoolExecutor(n_jobs, context, initializer=_alone) as pool:
        try:
            yield pool
        except (KeyboardInterrupt, SystemExit):  # it may have reached this process only
            for child in set(multiprocessing.active_children()) - set(others):
                child.kill()
            raise


def _alone() -> None:
    """A process of the pool has one thread: results are the same for any number of processes.

    It goes with the process that began it, however that ends: else its cells would stay locked.
    """
    threading.Thread(target=_go_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    threadpool_limits(1)  # of BLAS and OpenMP; it stays, as nothing leaves it


def _go_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)
