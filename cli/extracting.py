"""What xmg extract does with each data set, and says of it."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.filesize import decimal

from xmg.cache.counted import counted
from xmg.cache.errors import XmgError
from xmg.cli.console import hints, progress_bar, say
from xmg.cli.exchange import report

if TYPE_CHECKING:
    from xmg.extract.asked import Existing
    from xmg.extract.dry_run import Outlook
    from xmg.extract.spec import Job
    from xmg.extract.types import Encoder, Source

_SHOWN: Final = 5  # rejects
_LOADS: Final = {"encoder", "weights", "pooling", "layers", "modality", "device"}


def each(
    jobs: "Sequence[Job]", act: "Callable[[Job, Encoder], None]", trust_remote_code: bool
) -> None:
    """Act on one job after the other; consecutive ones of one encoder share it.

    One that fails is reported and the others go on; then raises XmgError that names the failed.
    """
    from xmg.cache.outputs import check_replaceable

    failed, loaded = [], None
    for job in jobs:
        try:
            check_there(job.data)  # before weights are fetched
            check_replaceable(job.out)
            if loaded is None or job.model_dump(include=_LOADS) != loaded[0]:
                with hints.status(f"loading {job.encoder}"):
                    loaded = job.model_dump(include=_LOADS), job.load(trust_remote_code)
            act(job, loaded[1])
        except XmgError as error:
            if len(jobs) == 1:
                raise
            hints.print(f"failed: {job.out}: {error}")
            failed.append(str(job.out))
    if failed:
        raise XmgError(
            f"{len(failed)} of {len(jobs)} data sets failed: {', '.join(failed)}.\n"
            "fix: put right what is said above, and repeat the command; what is finished stays"
        )


def check_there(paths: Iterable[Path]) -> None:
    """Raise XmgError where one of these paths leads nowhere."""
    from xmg.cache.outputs import required

    for path in paths:
        required(path)


def encode(job: "Job", encoder: "Encoder", existing: "Existing", allow_outside: bool) -> None:
    """Bring the job's feature file about."""
    source = job.open(encoder.modality, allow_outside)
    _say_unlabelled(source)
    fill(job, source, encoder, existing)


def fill(job: "Job", source: "Source", encoder: "Encoder", existing: "Existing") -> None:
    """The same of a source that is open, whether or not its inputs should have labels."""
    from xmg.extract.pipeline import extract

    with _kept_on_interrupt(job.out), progress_bar(job.encoder) as advance:
        file = extract(
            source,
            encoder,
            job.out,
            dtype=job.dtype,
            n_workers=job.workers,
            existing=existing,
            progress=advance,
            notify=hints.print,
        )
    report(file)
    _say_rejects(file.rejects, f"in all, listed in {job.out} under /rejects")


def foresee(job: "Job", encoder: "Encoder", existing: "Existing", allow_outside: bool) -> None:
    """Say what `encode` would do."""
    from xmg.extract.dry_run import dry_run

    source = job.open(encoder.modality, allow_outside)
    with hints.status(f"trying {job.encoder} on a sample"):
        found = dry_run(
            source, encoder, job.out, dtype=job.dtype, n_workers=job.workers, existing=existing
        )
    say(f"{job.out}: {_in_words(found)}")
    _say_unlabelled(source)
    if found.reason:
        hints.print(found.reason)
    _say_rejects(found.rejects, "in the sample")


def _in_words(found: "Outlook") -> str:
    """Such as `new: 360 inputs of 9 classes, 1.2 MB -> features of 368.6 kB, about 3 s`."""
    share = "" if found.n_left in (0, found.n_inputs) else f" for {found.n_left:,} of them"
    took = timedelta(seconds=math.ceil(found.seconds))
    return (
        f"{found.action}: {counted(found.n_inputs, 'input')} of "
        f"{counted(found.n_classes, 'class')}, "
        f"{decimal(found.input_bytes)} -> features of "
        f"{'~' * found.is_estimate}{decimal(found.feature_bytes)}"
        f"{f', about {took}{share}' if found.n_left else ''}"
    )


def _say_unlabelled(source: "Source") -> None:
    """Before hours of encoding: a column of classes that has another name is easily missed."""
    names = ", ".join(name for name in source.columns if name != "recording")
    if names and not any(sample.label for sample in source.samples):
        hints.print(
            f"no input has a label; where one of these columns holds classes, "
            f"--label-column names it: {names}"
        )


def _say_rejects(rejects: Sequence[tuple[str, str]], where: str) -> None:
    for name, reason in rejects[:_SHOWN]:
        hints.print(f"rejected {name}: {reason}")
    if len(rejects) > _SHOWN:
        hints.print(f"... {len(rejects)} rejects {where}")


@contextmanager
def _kept_on_interrupt(out: Path) -> Iterator[None]:
    """Say after Ctrl-C that nothing was in vain."""
    try:
        yield
    except KeyboardInterrupt:
        hints.print(f"{out} is not whole yet; the same command goes on from here")
        raise
