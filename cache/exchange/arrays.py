"""Features that other programs made, as a feature file."""

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypedDict, Unpack

import numpy as np
import numpy.typing as npt

from xmg.cache.errors import XmgError
from xmg.cache.identity import Contents, FeatureSpec, Listing, Reject, content_digest
from xmg.cache.layout import FEATURE_DTYPES
from xmg.cache.outputs import BLOCK_BYTES, BLOCK_ROWS, Draft, write_draft
from xmg.cache.read import FeatureFile
from xmg.cache.write import Notify
from xmg.cache.writing.rows import Outputs

Array = npt.NDArray[Any]
Block = Array | Sequence[Array]
_FLOATS: Final = ("float16", "float32", "float64")


@dataclass(frozen=True, slots=True)
class Rows:
    """Features of N inputs that need not fit in memory.

    blocks: begins anew at each call, and yields (n, D) arrays, or for sequences lists of (T, D)
    arrays, of float16, float32 or float64.
    """

    n: int
    dim: int
    dtype: str
    sequences: bool
    blocks: Callable[[], Iterator[Block]]


@dataclass(frozen=True, slots=True)
class Table:
    """What a file of another program holds: rows, and text for each; "" or None = unlabelled."""

    rows: Rows
    ids: Sequence[str] | None = None
    labels: Sequence[str | None] | None = None
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    spec: FeatureSpec | None = None  # where the file says what made it


class Options(TypedDict, total=False):
    """How `from_arrays` writes: the data set's name, the dtype, and what may be replaced."""

    dataset: str
    dtype: str
    overwrite: bool
    notify: Notify


def from_arrays(
    path: Path | str,
    features: Array | Sequence[Array] | Rows,
    *,
    encoder: str | FeatureSpec,
    ids: Iterable[str] | Iterable[bytes] | Iterable[int] | None = None,
    labels: Iterable[str | None] | Iterable[int] | None = None,
    classes: Sequence[str] | None = None,
    columns: Mapping[str, Sequence[str]] | None = None,
    **options: Unpack[Options],
) -> FeatureFile:
    """Write features that you have to the feature file `path`, and open it.

    features: (N, D) float16, float32 or float64, or a sequence of N arrays (T_i, D); or tensors of
    torch, bfloat16 too.
    encoder: the name of what made them, or a FeatureSpec that says all that is known.
    ids: N unique texts; by default row numbers. labels: N class names, None = unlabelled; or
    with `classes` (C names) N integers in 0, ..., C - 1, or -1 = unlabelled. columns: further
    texts by name, N each. dataset: a name for the data, by default the encoder's spec's or the
    path's. dtype: "float16" (default) or "float32". notify: called with what a person should
    know.

    A row with NaN or infinite values, or that overflows the dtype, becomes one of the file's
    `rejects`. Where `path` holds just these features, it is returned as it is; the fingerprint
    covers every value. Raises XmgError where it holds others and overwrite is false, where
    shapes, dtypes or lengths don't fit, for a label out of range, and for equal ids.
    """
    rows = features if isinstance(features, Rows) else rows_of(features)
    out, made_by = Path(path), _spec(encoder, options.get("dataset"), Path(path))
    dtype = options.get("dtype", "float16")
    notify: Notify = options.get("notify", lambda message: None)
    unknown = options.keys() - Options.__annotations__.keys()
    if unknown:
        raise TypeError(f"from_arrays has no argument {min(unknown)!r}")
    if dtype not in FEATURE_DTYPES:
        raise XmgError(f"dtype must be one of {FEATURE_DTYPES}, got {dtype!r}")
    names = _texts("ids", range(rows.n) if ids is None else list(ids), rows.n)
    kinds = _labels([None] * rows.n if labels is None else list(labels), classes, names)
    texts = {name: _texts(name, values, rows.n) for name, values in (columns or {}).items()}
    Listing(names, kinds, texts)  # what is wrong with them is said before all rows are read
    listing = Listing(names, kinds, texts, _digests(rows, dtype))
    draft = Draft(made_by, listing, rows.dim, dtype, rows.sequences, _outputs(rows))
    file = write_draft(out, draft, overwrite=options.get("overwrite", False), notify=notify)
    for name, reason in file.rejects[:5]:
        notify(f"rejected {name}: {reason}")
    if len(file.rejects) > 5:
        notify(f"... {len(file.rejects):,} rejects in all, listed in {out} under /rejects")
    return file


def rows_of(features: Array | Sequence[Array]) -> Rows:
    """Check an (N, D) array, or a sequence of N arrays (T_i, D), and see it as Rows.

    Raises XmgError for other shapes, for other dtypes than floats, where a mask hides values, and
    where there is no row.
    """
    if hides(features):
        raise XmgError("a mask hides some features, which would count. fix: leave those rows out")
    if hasattr(features, "ndim"):
        return _dense(np.asarray(from_tensor(features)))
    parts = [np.asarray(from_tensor(part)) for part in features]
    if not parts:
        raise XmgError("the features have no row")
    for row, part in enumerate(parts):
        if part.ndim != 2 or part.shape[1] != parts[0].shape[-1]:
            raise XmgError(
                f"features[{row}] has the shape {part.shape}; a list holds one (T, D) array for "
                "each sequence.\nfix: one vector per sample is a single (N, D) array, np.stack"
            )
        check_dtype(f"features[{row}]", part.dtype)
    dtype = np.result_type(*{part.dtype.newbyteorder("=") for part in parts})
    return Rows(len(parts), parts[0].shape[1], dtype.name, True, lambda: _runs(parts))


def hides(values: Any) -> bool:
    """Whether a mask hides any value of an array, or of one in a list."""
    return any(map(np.ma.is_masked, values if isinstance(values, list) else [values]))


def from_tensor(values: Any) -> Any:
    """NumPy's view of a tensor of torch, wherever it lies; other values as they are."""
    if not hasattr(values, "detach"):
        return values
    values = values.detach().cpu()
    return (values.float() if str(values.dtype) == "torch.bfloat16" else values).numpy()


def check_dtype(what: str, dtype: np.dtype[Any]) -> None:
    """Raise XmgError unless the dtype is one of the floats that convert."""
    if dtype.name not in _FLOATS:
        raise XmgError(
            f"{what} holds {dtype.name}; features are {', '.join(_FLOATS)}.\n"
            "fix: convert them, such as by features.astype('float32')"
        )


def _dense(features: Array) -> Rows:
    check_dtype("features", features.dtype)
    if features.ndim != 2:
        raise XmgError(
            f"features have the shape {features.shape}; needed is (N, D), a row per sample.\n"
            "fix: reshape them; sequences are a list of (T, D) arrays"
        )
    n, dim = features.shape
    if not n or not dim:
        raise XmgError(f"features have the shape {features.shape}: there is nothing in them")
    step = max(1, min(BLOCK_ROWS, BLOCK_BYTES // (dim * features.itemsize)))
    return Rows(
        n,
        dim,
        features.dtype.name,
        False,
        lambda: (features[first : first + step] for first in range(0, n, step)),
    )


def _runs(parts: Sequence[Array]) -> Iterator[Block]:
    """Some sequences at a time, of about BLOCK_BYTES."""
    block: list[Array] = []
    n_bytes = 0
    for part in parts:
        block.append(part)
        n_bytes += part.nbytes
        if n_bytes >= BLOCK_BYTES or len(block) == BLOCK_ROWS:
            yield block
            block, n_bytes = [], 0
    if block:
        yield block


def _outputs(rows: Rows) -> Iterator[Outputs]:
    """The blocks as the writer takes them: a sequence without frames becomes a reject."""
    for block in rows.blocks():
        if isinstance(block, np.ndarray):
            yield block
        else:
            yield [part if len(part) else Reject("it has no frames") for part in block]


def _digests(rows: Rows, dtype: str) -> Contents:
    """(N, 2) digest of each row as it will be stored, so that the fingerprint covers them."""
    stored = np.dtype(dtype).newbyteorder("<")
    found: list[tuple[int, int]] = []
    for block in rows.blocks():
        with np.errstate(over="ignore", invalid="ignore"):
            if isinstance(block, np.ndarray):  # at once is several times faster
                parts = list(np.ascontiguousarray(block, stored))
            else:
                parts = [np.ascontiguousarray(part, stored) for part in block]
        shapes = (repr(part.shape).encode() for part in parts)
        found += map(content_digest, shapes, (part.data for part in parts))
    return np.array(found, np.uint64).reshape(-1, 2)


def _spec(encoder: str | FeatureSpec, dataset: str | None, path: Path) -> FeatureSpec:
    if isinstance(encoder, FeatureSpec):
        return encoder if dataset is None else replace(encoder, dataset=dataset)
    if not encoder:
        raise XmgError("the encoder needs a name. fix: say what made the features")
    return FeatureSpec(
        dataset=path.stem if dataset is None else dataset,
        encoder=encoder,
        weights_sha256="",
        preprocessing={},
        versions={},
    )


def _labels(
    labels: Sequence[Any], classes: Sequence[str] | None, ids: Sequence[str]
) -> list[str | None]:
    """Class names, or None, of N rows."""
    _check_length("labels", labels, len(ids))
    if classes is not None:
        if len(set(classes)) < len(classes):
            raise XmgError("classes names one class twice")
        return [_by_number(c, classes, name) for c, name in zip(labels, ids, strict=True)]
    for label, name in zip(labels, ids, strict=True):
        if label is not None and not isinstance(label, str):
            raise XmgError(
                f"the label of {name!r} is {label!r}, no class name.\n"
                "fix: give names, or classes=[...] that the numbers count"
            )
    return [None if label is None else str(label) for label in labels]


def _by_number(label: Any, classes: Sequence[str], name: str) -> str | None:
    try:
        number = operator.index(label)
    except TypeError:
        number = len(classes)  # no number at all
    if not -1 <= number < len(classes):
        raise XmgError(
            f"the label of {name!r} is {label!r}; with {len(classes)} classes it must be in "
            f"0, ..., {len(classes) - 1}, or -1 where unlabelled"
        )
    return None if number < 0 else str(classes[number])


def _texts(what: str, values: Sequence[Any] | range, n: int) -> list[str]:
    """N texts; integers are written out, and bytes are UTF-8."""
    _check_length(what, values, n)
    texts = [_text(value) for value in values]
    for row, text in enumerate(texts):
        if text is None:
            raise XmgError(f"{what}[{row}] is {values[row]!r}; needed is text")
    return [str(text) for text in texts]


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None
    return str(value) if isinstance(value, str | int | np.integer) else None


def _check_length(what: str, values: Sequence[Any], n: int) -> None:
    if len(values) != n:
        raise XmgError(
            f"there are {n:,} rows of features, and {len(values):,} {what}. fix: one for each row"
        )
