"""Stream a source through a frozen encoder into a feature file."""

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits

from xmg.cache import FeatureFile, FeatureWriter, PartWriter, Reject, XmgError
from xmg.cache.outputs import kept
from xmg.cache.ranks import Ranks
from xmg.cache.reuse import known_rows
from xmg.cache.verify import require_whole
from xmg.cache.write import Notify, partial_folder, real_path
from xmg.cache.writing.part import stretches
from xmg.extract.asked import Existing, ask
from xmg.extract.cores import cores
from xmg.extract.ranks import joined
from xmg.extract.sources.samples import printable
from xmg.extract.types import Encoder, RejectError, Sample, Source, at_once

Progress = Callable[[int, int], None]
Inputs = npt.NDArray[np.int64]
Output = npt.NDArray[Any] | Reject
_REASON: Final = 300  # characters
_COPY_ROWS: Final = 4096


def extract(
    source: Source,
    encoder: Encoder,
    out: Path,
    *,
    dtype: str = "float16",
    n_workers: int | None = None,
    existing: Existing = "keep",
    progress: Progress | None = None,
    notify: Notify = lambda message: None,
) -> FeatureFile:
    """Encode every sample of `source` into the feature file `out`, in the listed order.

    dtype: "float16" or "float32". n_workers: threads that decode, by default one per core.
    progress: called with (inputs done, inputs in all) after each batch; notify: with what a
    person should know. An input that cannot be decoded becomes a row of `rejects`; memory does
    not grow with the number of inputs beyond their listing. A file with the same fingerprint is
    returned as it is, and an interrupted run goes on where it was.

    existing: what becomes of other features at `out`. "keep" raises XmgError saying how they
    differ; "update" keeps the rows of unchanged inputs and encodes the new, the changed and the
    rejected ones, if nothing but the inputs differs; "overwrite" replaces them.
    Raises XmgError also where another run writes to `out`, or where no input could be encoded.

    Started by torchrun, the processes share the batches, and the file is the same.
    """
    ranks, workers = joined(), n_workers or cores()
    asked = ask(
        source, encoder, out, dtype=dtype, existing=existing, n_workers=workers, ranks=ranks
    )
    former, is_whole = ranks.together(asked.former)
    if former and is_whole:
        return kept(out, former, notify)
    known = known_rows(former, asked.listing) if former else np.full(len(asked.listing), -1)

    with ExitStack() as stack:  # which brings the file about, in rank 0
        writer = ranks.first(
            lambda: _begun(stack.enter_context(asked.writer(notify)), former, known)
        )
        part = writer or stack.enter_context(
            closing(PartWriter(partial_folder(real_path(out)), f"rank{ranks.rank}"))
        )
        batches = _left(part, np.flatnonzero(known < 0), encoder.batch_size, ranks)

        def work() -> None:
            n_done = int(part.done.sum())
            with closing(encoded(source.samples, batches, encoder, workers)) as found:
                for inputs, outputs in found:
                    n_done += len(inputs) - int(part.done[inputs].sum())
                    _put(part, inputs, outputs)
                    if progress:
                        progress(min(n_done * ranks.size, len(part.done)), len(part.done))

        ranks.together(work)
        if not writer:
            stack.close()
        ranks.together(lambda: None)  # all parts are on the disk
        ranks.first(stack.close)
    return FeatureFile(out)


Part = FeatureWriter | PartWriter


def _begun(writer: FeatureWriter, former: FeatureFile | None, known: Inputs) -> FeatureWriter:
    """Copy the rows of unchanged inputs: input i has row known[i] of `former`, or -1."""
    if former:
        require_whole(former)
        for start, stop in stretches(known >= 0):
            for first in range(start, stop, _COPY_ROWS):
                last = min(first + _COPY_ROWS, stop)
                writer.put(first, former.take(known[first:last]))
    return writer


def _left(part: Part, todo: Inputs, size: int, ranks: Ranks) -> Iterator[Inputs]:
    """Yield this process's batches, the same ones however many processes there are, but for those
    that an interrupted run did."""
    for first in ranks.share(range(0, len(todo), size)):
        batch = todo[first : first + size]
        if not part.done[batch].all():
            yield batch


def _put(writer: Part, inputs: Inputs, outputs: Sequence[Output]) -> None:
    """Write the outputs of increasing inputs, stretch by stretch."""
    breaks = (np.flatnonzero(np.diff(inputs) != 1) + 1).tolist()
    for start, stop in pairwise([0, *breaks, len(inputs)]):
        writer.put(int(inputs[start]), outputs[start:stop])


def encoded(
    samples: Sequence[Sample],
    batches: Iterable[Inputs],
    encoder: Encoder,
    workers: int,
) -> Generator[tuple[Inputs, list[Output]], None, None]:
    """Yield each batch of inputs with its outputs, in the given order.

    What an encoder says of an input may depend on its batch in the last bit, so batches are the
    same however often a run is taken up again. Threads run a few batches ahead and no more, so
    that memory stays flat.
    """
    ahead = at_once(encoder) + max(1, math.ceil(2 * workers / encoder.batch_size))
    pending: deque[tuple[Inputs, Future[list[Output]]]] = deque()
    with _threads(workers, 1) as decoders, encoders(encoder) as lanes:
        try:
            for batch in batches:
                items = [decoders.submit(_decode, encoder, samples[i]) for i in batch.tolist()]
                pending.append((batch, lanes.submit(_encode, encoder, items)))
                if len(pending) > ahead:
                    yield _next(pending)
            while pending:
                yield _next(pending)
        finally:
            for executor in (lanes, decoders):
                executor.shutdown(wait=False, cancel_futures=True)


def _next(pending: "deque[tuple[Inputs, Future[list[Output]]]]") -> tuple[Inputs, list[Output]]:
    batch, outputs = pending.popleft()
    return batch, outputs.result()


@contextmanager
def encoders(encoder: Encoder) -> Iterator[ThreadPoolExecutor]:
    """Threads that encode side by side and share the cores evenly; a product of NumPy takes one
    core in any of them."""
    n, n_threads = at_once(encoder), torch.get_num_threads()
    try:
        with (
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False),  # threads share it
            threadpool_limits(1, "blas"),
            _threads(n, max(1, n_threads // n)) as pool,
        ):
            yield pool
    finally:
        torch.set_num_threads(n_threads)  # of threads to come


def _threads(n: int, n_cores: int) -> ThreadPoolExecutor:
    """n threads in each of which torch takes n_cores: a sum comes out another in the last bit when
    more of them share it."""

    def begin() -> None:
        torch.get_num_threads()  # else its first operation would take what any thread said last
        torch.set_num_threads(n_cores)

    return ThreadPoolExecutor(n, initializer=begin)


def _encode(encoder: Encoder, items: Sequence[Future[Any]]) -> list[Output]:
    """Wait for the items of a batch and encode those that could be read."""
    decoded = [item.result() for item in items]
    readable = [item for item in decoded if not isinstance(item, Reject)]
    rows = list(encoder.encode(readable)) if readable else []
    if len(rows) != len(readable):
        raise XmgError(
            f"{encoder.name} gave {len(rows)} rows for {len(readable)} inputs. "
            "fix: let encode() return one array for each"
        )
    remaining = iter(rows)
    return [i if isinstance(i, Reject) else next(remaining) for i in decoded]


def _decode(encoder: Encoder, sample: Sample) -> Any:
    content = sample.content
    try:
        if isinstance(content, Path) and content.exists() and not content.is_file():
            return _reject("not a regular file")  # reading a pipe would never end
        return encoder.decode(content)
    except RejectError as error:
        return _reject(str(error))
    except Exception as error:  # a bad file can raise anything, and must not stop the run
        return _reject(f"{type(error).__name__}: {error}")


def _reject(reason: str) -> Reject:
    """Keep one short line: reasons are stored at the width of the longest."""
    line = (reason.splitlines() or [""])[0].replace("\0", "")
    return Reject(printable(line)[:_REASON] or "no reason given")
