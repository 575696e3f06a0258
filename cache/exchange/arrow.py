"""Features as Parquet or Arrow (Feather) files, streamed in record batches; needs pyarrow."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from xmg.cache.errors import XmgError
from xmg.cache.exchange.arrays import Block, Rows, Table
from xmg.cache.identity import FeatureSpec
from xmg.cache.names import check_ids, chosen
from xmg.cache.outputs import blocks_of, required_file
from xmg.cache.read import FeatureFile, decode
from xmg.cache.write import Notify

RESERVED: Final = ("id", "label", "features")
_METADATA: Final = b"xmg"  # key of the JSON that says what made the features
_BATCH_ROWS: Final = {False: 4096, True: 256}  # of rows, of sequences


def pyarrow() -> Any:
    """Import pyarrow; raises XmgError saying how to install it."""
    try:
        import pyarrow.compute
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError:
        raise XmgError(
            "Parquet and Arrow files need pyarrow.\nfix: pip install 'xmg[arrow]'"
        ) from None
    return pyarrow


def write_arrow(
    file: FeatureFile, columns: Mapping[str, str], out: BinaryIO, *, parquet: bool
) -> None:
    """Write id, label (null = unlabelled), the further columns, and features.

    Features are fixed-size lists of D floats, of sequences lists of those. The schema's
    metadata keeps the spec and the fingerprint. columns: name there of each further column.
    """
    pa = pyarrow()
    schema = _schema(pa, file, list(columns.values()))
    texts = [name for name in schema.names if name not in ("id", "features")]
    if parquet:
        writer = pa.parquet.ParquetWriter(out, schema, use_dictionary=texts)
    else:
        writer = pa.ipc.new_file(out, schema)
    with writer:
        for rows, block in blocks_of(file):
            names = file.class_names(rows)
            others = [decode(file.array(f"columns/{name}")[rows]) for name in columns]
            arrays = [pa.array(v, pa.string()) for v in (decode(file.ids[rows]), names, *others)]
            features = _features(pa, schema.field("features").type, block)
            writer.write_batch(pa.RecordBatch.from_arrays([*arrays, features], schema=schema))


def _schema(pa: Any, file: FeatureFile, columns: Sequence[str]) -> Any:
    vector = pa.list_(pa.from_numpy_dtype(file.dtype), file.dim)
    made_of = {**asdict(file.spec), "fingerprint": file.fingerprint}
    return pa.schema(
        [
            *((name, pa.string()) for name in ("id", "label", *columns)),
            ("features", pa.list_(vector) if file.is_sequence else vector),
        ],
        {_METADATA: json.dumps(made_of, sort_keys=True).encode()},
    )


def _features(pa: Any, wanted: Any, block: Block) -> Any:
    if isinstance(block, np.ndarray):
        return pa.FixedSizeListArray.from_arrays(pa.array(block.reshape(-1)), type=wanted)
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in block])]).astype(np.int32)
    frames = _features(pa, wanted.value_type, np.concatenate(block))
    return pa.ListArray.from_arrays(pa.array(offsets), frames, type=wanted)


def read_arrow(
    path: Path,
    *,
    id_column: str | None = None,
    label_column: str | None = None,
    features_column: str | None = None,
    notify: Notify = lambda message: None,
) -> Table:
    """See a .parquet, .arrow or .feather file as rows with ids, labels and further columns.

    Features are lists of D floats, of fixed size or not, or for sequences lists of those. By
    default they are in the column `features`, or in the only one that can hold them; ids in
    `id` (else row numbers), labels in `label` (else unlabelled). Every other column is kept as
    text; one that is no text is left out, which `notify` is told.
    Raises XmgError where the file cannot be read, or where the columns are none such.
    """
    pa = pyarrow()
    required_file(path)
    with _telling(pa, path):
        schema = _read_schema(pa, path)
    names = schema.names
    if len(set(names)) < len(names):
        raise XmgError(f"{path} names a column twice: {', '.join(names)}")
    features = _features_column(pa, path, schema, features_column)
    key = chosen(str(path), names, id_column, "id")
    label = chosen(str(path), names, label_column, "label")
    others = [name for name in names if name not in (key, label, features)]
    kept = [name for name in others if _is_text(pa, schema.field(name).type)]
    for option, name in (("id", key), ("label", label)):
        if name and not _is_text(pa, schema.field(name).type):
            kind = schema.field(name).type
            raise XmgError(f"{path}: {name!r} ({kind}) is no text. fix: --{option}-column NAME")
    if len(kept) < len(others):
        left = ", ".join(name for name in others if name not in kept)
        notify(f"left out, as no text: {left}")
    texts = _read_texts(pa, path, [name for name in (key, label, *kept) if name])
    ids = [name or "" for name in texts[key]] if key else None
    if ids is not None:
        check_ids(str(path), ids)
    return Table(
        _rows(pa, path, schema, features),
        ids,
        [name or None for name in texts[label]] if label else None,
        {name: [value or "" for value in texts[name]] for name in kept},
        _spec(schema.metadata),
    )


def _features_column(pa: Any, path: Path, schema: Any, wanted: str | None) -> str:
    """The column that was asked for, else `features`, else the only one of vectors."""
    fit = [name for name in schema.names if _vector(pa, schema.field(name).type)]
    name = chosen(str(path), schema.names, wanted, "features")
    name = fit[0] if name is None and len(fit) == 1 else name
    if name in fit:
        return str(name)
    fields = ", ".join(f"{field.name} ({field.type})" for field in schema)
    raise XmgError(
        f"{path}: {'which column holds' if name is None else f'{name!r} does not hold'} features, "
        f"lists of floats? Its columns are {fields}.\nfix: --features-column NAME"
    )


def _is_list(pa: Any, kind: Any) -> bool:
    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in tests)


def _vector(pa: Any, kind: Any) -> tuple[bool, Any] | None:
    """(whether sequences, type of a vector) of a column of features; None for other columns."""
    if not _is_list(pa, kind):
        return None
    sequences = _is_list(pa, kind.value_type)
    vector = kind.value_type if sequences else kind
    return (sequences, vector) if pa.types.is_floating(vector.value_type) else None


def _is_text(pa: Any, kind: Any) -> bool:
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return False
    try:
        pa.array([], kind).cast(pa.string())
    except pa.ArrowException:
        return False
    return True


def _read_texts(pa: Any, path: Path, names: Sequence[str]) -> dict[str, list[str | None]]:
    """Columns as text; None where there is nothing, which pandas makes NaN."""
    texts: dict[str, list[str | None]] = {name: [] for name in names}
    for batch in _batches(pa, path, names, _BATCH_ROWS[False]):
        for name in names:
            column = batch.column(name)
            gaps, text = column.is_null(nan_is_null=True), column.cast(pa.string())
            texts[name] += pa.compute.if_else(gaps, None, text).to_pylist()
    return texts


def _rows(pa: Any, path: Path, schema: Any, name: str) -> Rows:
    found = _vector(pa, schema.field(name).type)
    if found is None:
        raise TypeError(f"{name} holds no vectors")
    sequences, vector = found
    fixed = pa.types.is_fixed_size_list(vector)
    dim = vector.list_size if fixed else len(_first_vector(pa, path, name, sequences))

    def blocks() -> Iterator[Block]:
        at = 1
        for batch in _batches(pa, path, [name], _BATCH_ROWS[sequences]):
            for start in range(0, len(batch), _BATCH_ROWS[sequences]):
                column = batch.column(name).slice(start, _BATCH_ROWS[sequences])
                where = f"{path}, column {name!r}, rows {at:,} to {at + len(column) - 1:,}"
                yield _block(pa, where, column, dim, sequences)
                at += len(column)

    dtype: str = np.dtype(vector.value_type.to_pandas_dtype()).name
    return Rows(_n_rows(pa, path), dim, dtype, sequences, blocks)


def _first_vector(pa: Any, path: Path, name: str, sequences: bool) -> Sequence[float]:
    """Return the first vector that is there; raises XmgError where none is."""
    for batch in _batches(pa, path, [name], 1):
        for held in batch.column(name):
            value = held.as_py()
            vector = value[0] if sequences and value else value
            if vector:
                return vector  # type: ignore[no-any-return]
    raise XmgError(f"{path}: no row has a vector in {name!r}")


def _block(pa: Any, where: str, column: Any, dim: int, sequences: bool) -> Block:
    """(n, D) of a column, or a list of (T, D)."""
    if column.null_count:
        raise XmgError(f"{where}: {column.null_count:,} have no features. fix: drop those rows")
    if not sequences:
        return _matrix(pa, where, column, dim)
    lengths = pa.compute.list_value_length(column).to_numpy(zero_copy_only=False)
    frames = _matrix(pa, where, column.flatten(), dim)
    return np.split(frames, np.cumsum(lengths)[:-1])


def _matrix(pa: Any, where: str, vectors: Any, dim: int) -> npt.NDArray[Any]:
    lengths = pa.compute.list_value_length(vectors)
    if vectors.null_count or (lengths.to_numpy(zero_copy_only=False) != dim).any():
        raise XmgError(f"{where}: vectors are of several lengths, not all of {dim:,} floats")
    flat: npt.NDArray[Any] = vectors.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(-1, dim)


def _spec(metadata: Mapping[bytes, bytes] | None) -> FeatureSpec | None:
    """What made the features, where the file was exported from a feature file."""
    try:
        found = json.loads((metadata or {})[_METADATA])
        found.pop("fingerprint")
        return FeatureSpec(**found)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None  # written by another program


def _is_parquet(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(4) == b"PAR1"


def _read_schema(pa: Any, path: Path) -> Any:
    if _is_parquet(path):
        return pa.parquet.read_schema(path)
    with pa.memory_map(str(path)) as source:
        return _open_ipc(pa, source).schema


def _n_rows(pa: Any, path: Path) -> int:
    """Rows of the file; raises XmgError where there is none."""
    if _is_parquet(path):
        n = int(pa.parquet.read_metadata(path).num_rows)
    else:
        n = sum(len(batch) for batch in _batches(pa, path, [], _BATCH_ROWS[False]))
    if not n:
        raise XmgError(f"{path} has no rows")
    return n


def _open_ipc(pa: Any, source: Any) -> Any:
    """Open the file format, or the stream that some programs write under the same suffix."""
    try:
        return pa.ipc.open_file(source)
    except pa.ArrowInvalid:
        source.seek(0)
        return pa.ipc.open_stream(source)


def _batches(pa: Any, path: Path, names: Sequence[str], n_rows: int) -> Iterator[Any]:
    """Yield record batches with these columns at least; of Parquet n_rows rows at most each."""
    with _telling(pa, path):
        if _is_parquet(path):
            with pa.parquet.ParquetFile(path, memory_map=True) as file:
                yield from file.iter_batches(n_rows, columns=list(names))
            return
        with pa.memory_map(str(path)) as source:
            reader = _open_ipc(pa, source)
            if hasattr(reader, "num_record_batches"):
                yield from map(reader.get_batch, range(reader.num_record_batches))
            else:
                yield from reader


@contextmanager
def _telling(pa: Any, path: Path) -> Iterator[None]:
    """Put what pyarrow raises of a damaged file into words."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise XmgError(f"{path} is not a readable Parquet or Arrow file ({error})") from error
