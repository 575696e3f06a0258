"""Stream a source through a frozen encoder into a feature file."""

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy.typing as npt

from xmg.cache import FeatureFile, FeatureSpec, FeatureWriter, Listing, Reject, XmgError
from xmg.cache.read import is_hdf5
from xmg.cache.write import fingerprint
from xmg.extract.sources.samples import Samples, printable
from xmg.extract.types import Encoder, RejectError, Sample, Source

Progress = Callable[[int, int], None]
Output = npt.NDArray[Any] | Reject
_REASON: Final = 300  # characters


def extract(
    source: Source,
    encoder: Encoder,
    out: Path,
    *,
    dtype: str = "float16",
    n_workers: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> FeatureFile:
    """Encode every sample of `source` into the feature file `out`, in the listed order.

    dtype: "float16" or "float32". n_workers: threads that decode, by default one per core.
    progress: called with (inputs done, inputs in all) after each batch. An input that cannot
    be decoded becomes a row of `rejects`; memory does not grow with the number of inputs
    beyond their listing. A file with the same fingerprint is returned as it is.
    Raises XmgError where `out` holds something else and `overwrite` is false, or where no
    input could be encoded.
    """
    if out.is_dir():
        raise XmgError(f"{out} is a folder. fix: name a file in it, such as {out / 'features.h5'}")
    listing, spec = _listing(source), _spec(source, encoder)
    if out.exists() and not overwrite:
        return _existing(out, spec, listing, dtype)
    if out.exists() and not is_hdf5(out):
        raise XmgError(f"{out} is no feature file, and stays. fix: name another output")
    workers = n_workers or os.cpu_count() or 1
    n_done, n_all = 0, len(source.samples)
    with FeatureWriter(
        out, spec, listing, encoder.dim, dtype=dtype, sequences=encoder.sequences
    ) as writer:
        for outputs in _outputs(source.samples, encoder, workers):
            writer.extend(outputs)
            n_done += len(outputs)
            if progress:
                progress(n_done, n_all)
    return FeatureFile(out)


def _listing(source: Source) -> Listing:
    samples, content = source.samples, _content_digest(source.samples)
    if isinstance(samples, Samples):  # which has the lists already
        return Listing(samples.ids, samples.labels, source.columns, content)
    ids, labels = [s.id for s in samples], [s.label for s in samples]
    return Listing(ids, labels, source.columns, content)


def _content_digest(samples: Sequence[Sample]) -> str:
    """SHA-256 over texts and images, and for files over name and size: reading all is too slow."""
    sha = hashlib.sha256()
    for sample in samples:
        content = sample.content
        if isinstance(content, Path):
            size = content.stat().st_size if content.is_file() else -1
            sha.update(f"{content.name}\0{size}\0".encode("utf-8", "surrogateescape"))
        elif isinstance(content, str):
            sha.update(content.encode("utf-8", "surrogatepass") + b"\0")
        else:
            sha.update(content.tobytes())
    return sha.hexdigest()


def _spec(source: Source, encoder: Encoder) -> FeatureSpec:
    """An encoder may list in `packages` the libraries whose versions change its numbers."""
    packages: Sequence[str] = getattr(encoder, "packages", ())
    return FeatureSpec(
        dataset=printable(source.name),
        encoder=encoder.name,
        weights_sha256=encoder.weights_sha256,
        preprocessing=dict(encoder.preprocessing),
        versions={name: version(name) for name in sorted({"numpy", "torch", *packages})},
    )


def _existing(out: Path, spec: FeatureSpec, listing: Listing, dtype: str) -> FeatureFile:
    """Return the file at `out` if it is what would be made; raises XmgError with what differs."""
    try:
        file = FeatureFile(out)
    except XmgError as error:
        raise XmgError(f"{error}\nfix: --overwrite, or another output") from error
    if file.fingerprint == fingerprint(spec, listing, dtype):
        return file
    raise XmgError(
        f"{out} holds other features: {_differences(file, spec, dtype)}.\n"
        f"fix: --overwrite, or another output"
    )


def _differences(file: FeatureFile, spec: FeatureSpec, dtype: str) -> str:
    """Name what the attributes tell apart; if they agree, it is the listing."""
    rows = file.frames if file.is_sequence else file.features
    stored, wanted = file.provenance, asdict(spec)
    found = _flat({**{key: stored[key] for key in wanted}, "dtype": rows.dtype.name})
    asked = _flat({**wanted, "dtype": dtype})
    differing = [key for key in sorted(found | asked) if found.get(key) != asked.get(key)]
    if not differing:
        return "the listed ids, labels, columns or contents differ"
    return "; ".join(f"{k} is {found.get(k)}, would be {asked.get(k)}" for k in differing)


def _flat(values: Mapping[str, Any]) -> dict[str, str]:
    """{"a": {"b": 1}} to {"a.b": "1"}, values as JSON so that tuples equal lists."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        parts = {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, Mapping) else None
        flat |= {k: json.dumps(v) for k, v in (parts or {key: value}).items()}
    return flat


def _outputs(samples: Sequence[Sample], encoder: Encoder, workers: int) -> Iterator[list[Output]]:
    """Yield the outputs of batch_size inputs at a time, in the listed order."""
    with closing(_decoded(samples, encoder, workers)) as decoded:
        while batch := list(islice(decoded, encoder.batch_size)):
            readable = [item for item in batch if not isinstance(item, Reject)]
            rows = list(encoder.encode(readable)) if readable else []
            if len(rows) != len(readable):
                raise ValueError(f"{encoder.name} gave {len(rows)} rows for {len(readable)} inputs")
            remaining = iter(rows)
            yield [b if isinstance(b, Reject) else next(remaining) for b in batch]


def _decoded(
    samples: Sequence[Sample], encoder: Encoder, workers: int
) -> Generator[Any, None, None]:
    """Yield what encoder.decode made of each input, or a Reject, in the listed order.

    Threads run at most one batch ahead, so that memory stays flat.
    """
    ahead = max(encoder.batch_size, 2 * workers)
    pending: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for sample in samples:
                pending.append(pool.submit(_decode, encoder, sample))
                if len(pending) > ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _decode(encoder: Encoder, sample: Sample) -> Any:
    content = sample.content
    if isinstance(content, Path) and content.exists() and not content.is_file():
        return _reject("not a regular file")  # reading a pipe would never end
    try:
        return encoder.decode(content)
    except RejectError as error:
        return _reject(str(error))
    except Exception as error:  # a bad file can raise anything, and must not stop the run
        return _reject(f"{type(error).__name__}: {error}")


def _reject(reason: str) -> Reject:
    """Keep one short line: reasons are stored at the width of the longest."""
    line = (reason.splitlines() or [""])[0].replace("\0", "")
    return Reject(printable(line)[:_REASON] or "no reason given")
