"""A run's metrics as TensorBoard curves, in RUN/tensorboard/."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from xmg.cache import XmgError
from xmg.engine.run import METRICS, read_metrics

FOLDER: Final = "tensorboard"
_ALWAYS: Final = "validation_accuracy"  # in every row
Row = Mapping[str, Any]


@contextmanager
def curves(run: Path) -> Iterator[Callable[[], None]]:
    """Yield follow(), which draws the rows that metrics.jsonl has gained since its last call.

    metrics.jsonl alone says what is drawn: a run that goes on continues its curves, without what a
    crash has undone, and with what an earlier process did not draw. Raises XmgError where
    TensorBoard is not installed.
    """
    make, read = _tensorboard()
    writer: Any = None
    n_drawn, seen = 0, -1

    def follow() -> None:
        nonlocal writer, n_drawn, seen
        size = _size(run / METRICS)
        if size in (0, seen):
            return
        rows, seen = read_metrics(run), size
        if writer is None:
            steps = _steps(run / FOLDER, read)
            n_drawn = _n_known(rows, steps)
            if n_drawn == len(rows) and max(steps) <= rows[-1]["iteration"]:
                return
            first = rows[n_drawn - 1]["iteration"] + 1 if n_drawn else 0
            _await_a_later_second(run / FOLDER)
            writer = make(str(run / FOLDER), purge_step=first)  # readers drop later points
        for row in rows[n_drawn:]:
            for name, value in numbers(row):
                writer.add_scalar(name, value, row["iteration"])
        n_drawn = len(rows)
        writer.flush()

    try:
        yield follow
        follow()  # of a finished run too
    finally:
        if writer is not None:
            writer.close()


def numbers(row: Row, prefix: str = "") -> Iterator[tuple[str, float]]:
    """Each number of a row but its iteration, by name; of inner tables as `table/name`."""
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and name != "iteration":
            yield prefix + name, float(value)


def _n_known(rows: Sequence[Row], steps: set[int]) -> int:
    """How many rows, from the first on, are drawn already."""
    return next((i for i, row in enumerate(rows) if row["iteration"] not in steps), len(rows))


def _steps(folder: Path, read: Any) -> set[int]:
    """The meta-iterations that earlier processes drew."""
    if not folder.is_dir():
        return set()
    found = read(str(folder), size_guidance={"scalars": 0})  # 0: all of them
    found.Reload()
    drawn = _ALWAYS in found.Tags()["scalars"]
    return {event.step for event in found.Scalars(_ALWAYS)} if drawn else set()


def _await_a_later_second(folder: Path) -> None:
    """Return when a new file sorts last: its name begins with the second, and readers go by names.

    After two seconds in any case: the clock of another machine may be ahead.
    """
    end = time.monotonic() + 2
    while time.monotonic() < end:
        now = f"events.out.tfevents.{int(time.time()):010d}."
        if not any(file.name > now for file in folder.glob("events.out.tfevents.*")):
            return
        time.sleep(0.05)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _tensorboard() -> tuple[Any, Any]:
    """What writes curves, and what reads them back."""
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise XmgError(
            f"--tensorboard needs TensorBoard, which does not load ({error}). "
            "fix: pip install 'xmg[tensorboard]'"
        ) from error
    return SummaryWriter, EventAccumulator
