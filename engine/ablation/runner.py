"""Compute cells side by side in processes; what is finished stays, what fails is marked."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

from xmg.cache.writing.lock import locked
from xmg.engine.ablation.cells import FAILURE, RESULT, Cell, compute, identities_of
from xmg.engine.run import write_text

Progress = Callable[[int, int, str], None]


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
    wanted = {f: c for f, c in zip(folders, cells, strict=True) if not (f / RESULT).exists()}
    done = len(set(folders)) - len(wanted)
    total = len(set(folders))
    if progress:
        progress(done, total, "")
    waiting = list(wanted.items())
    while waiting:
        waiting, done = _run(waiting, out, n_jobs, progress, done, total)
    return folders


Job = tuple[Path, Cell]


def _run(
    jobs: list[Job], out: Path, n_jobs: int, progress: Progress | None, done: int, total: int
) -> tuple[list[Job], int]:
    """Run until all are done, or a process dies; returns what is left, and how many are done."""
    context = multiprocessing.get_context("spawn")  # threads of torch do not survive a fork
    left = list(jobs)
    with ProcessPoolExecutor(n_jobs, context, initializer=_alone) as pool:
        running: dict[Future[None], Job] = {}
        while left or running:
            while left and len(running) < n_jobs:
                job = left.pop(0)
                running[pool.submit(compute, job[1], job[0], out / "episodes")] = job
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                folder, cell = running.pop(future)
                try:
                    future.result()
                except BrokenProcessPool:
                    write_text(_made(folder) / FAILURE, "its process died (killed, or no memory)")
                    return [*running.values(), *left], done + 1
                done += 1
                if progress:
                    progress(done, total, cell.label)
    return [], done


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _alone() -> None:
    """A process of the pool has one thread: results are the same for any number of processes."""
    torch.set_num_threads(1)
