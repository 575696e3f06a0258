"""What an extraction would do, how large it would become and how long it would take."""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from xmg.cache import Reject, XmgError
from xmg.cache.reuse import known_rows
from xmg.extract.asked import Asked, Existing, ask
from xmg.extract.cores import cores
from xmg.extract.pipeline import encoded
from xmg.extract.sources.limited import spread
from xmg.extract.types import Content, Encoder, Sample, Source, at_once

Action = Literal["new", "continue", "update", "replace", "nothing to do", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What `extract` would do with the same arguments.

    reason: why it would refuse. n_left: inputs that it would encode, or would if it did not
    refuse. feature_bytes, seconds: from the sample, the former exact unless `is_estimate`.
    rejects: (id, reason) of inputs in the sample that cannot be decoded.
    """

    action: Action
    reason: str
    n_inputs: int
    n_left: int
    n_classes: int
    input_bytes: int
    feature_bytes: int
    is_estimate: bool
    seconds: float
    rejects: Sequence[tuple[str, str]]


def dry_run(
    source: Source,
    encoder: Encoder,
    out: Path,
    *,
    dtype: str = "float16",
    n_workers: int | None = None,
    existing: Existing = "keep",
) -> Outlook:
    """Say what `extract` would do with these arguments; nothing is written.

    One batch, spread over the listing, is decoded and encoded to measure time and size, after
    another one to warm up. Decoding and encoding overlap in a real run, so it takes no longer
    than `seconds` as far as the sample is like the rest.
    """
    workers = n_workers or cores()
    asked = ask(source, encoder, out, dtype=dtype, existing=existing, n_workers=workers)
    action, todo, reason = _verdict(asked)
    trial = _try(source.samples, encoder, workers)
    n, n_left = len(asked.listing), int(todo.sum())
    return Outlook(
        action=action,
        reason=reason,
        n_inputs=n,
        n_left=n_left,
        n_classes=len(set(asked.listing.labels) - {None}),
        input_bytes=sum(_size(source.samples[i].content) for i in range(n)),
        feature_bytes=round(n * trial.length * encoder.dim * np.dtype(dtype).itemsize),
        is_estimate=encoder.sequences,
        seconds=n_left * trial.seconds,
        rejects=trial.rejects,
    )


def _verdict(asked: Asked) -> tuple[Action, npt.NDArray[np.bool_], str]:
    """Return what a run would do, (N,) which inputs it would encode, and why it would refuse."""
    todo = np.ones(len(asked.listing), np.bool_)
    try:
        former, is_whole = asked.former()
        if is_whole:
            return "nothing to do", ~todo, ""
        done = asked.writer().interrupted()
    except XmgError as error:
        return "refused", todo, str(error)
    if former:
        todo = known_rows(former, asked.listing) < 0
    replaces: Action = "replace" if asked.out.exists() else "new"
    action: Action = "continue" if done.any() else "update" if former else replaces
    return action, todo & ~done, ""


@dataclass(frozen=True, slots=True)
class _Trial:
    """Seconds and rows of one input on average, and what could not be decoded."""

    seconds: float
    length: float
    rejects: Sequence[tuple[str, str]]


def _try(samples: Sequence[Sample], encoder: Encoder, workers: int) -> _Trial:
    """Encode what goes at once, spread over the samples, after as many of their neighbours."""
    n = encoder.batch_size * at_once(encoder)
    chosen = np.array(spread(len(samples), n), np.int64)
    _encode(samples, (chosen + 1) % len(samples), encoder, workers)
    began = time.perf_counter()
    outputs = _encode(samples, chosen, encoder, workers)
    seconds = (time.perf_counter() - began) / len(chosen)
    found = [(samples[i].id, out) for i, out in zip(chosen.tolist(), outputs, strict=True)]
    rejects = [(name, out.reason) for name, out in found if isinstance(out, Reject)]
    rows = [out for _, out in found if not isinstance(out, Reject)]
    length = float(np.mean([len(row) for row in rows])) if encoder.sequences and rows else 1.0
    return _Trial(seconds, length, rejects)


def _encode(
    samples: Sequence[Sample], inputs: npt.NDArray[np.int64], encoder: Encoder, workers: int
) -> list[npt.NDArray[Any] | Reject]:
    batches = np.split(inputs, range(encoder.batch_size, len(inputs), encoder.batch_size))
    with closing(encoded(samples, batches, encoder, workers)) as found:
        return [output for _, outputs in found for output in outputs]


def _size(content: Content) -> int:
    """Bytes of a file, of a text in UTF-8, or of pixels; 0 where a file cannot be looked at."""
    if isinstance(content, str):
        return len(content.encode("utf-8", "surrogatepass"))
    if isinstance(content, Path):
        try:
            return content.stat().st_size
        except (OSError, ValueError):
            return 0
    return content.nbytes
