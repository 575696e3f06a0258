"""Feature files as lists of dictionaries: what a file holds, in plain Python."""

import numpy as np
import synthetic
from hypothesis import strategies as st

from xmg.cache import FeatureFile, FeatureWriter, Listing, Reject, decode
from xmg.cache.identity import content_digest

NAMES = [
    "dog",
    "كلب",
    "कुत्ता",
    "狗",
    "\U0001f415\u200d\U0001f9ba",
    "e\u0301te\u0301",
    "\u00e9t\u00e9",
]
VALUES = st.integers(-50, 50).map(float)


def write(
    path, rows, spec=synthetic.SPEC, *, dim=2, dtype="float32", sequences=False, contents=False
):
    """Write rows {id, x, label, columns}; x is (D,) or (T, D) floats, None = reject."""
    columns = sorted({name for row in rows for name in row["columns"]})
    digests = [content_digest(row["id"].encode()) for row in rows] if contents else []
    listing = Listing(
        [row["id"] for row in rows],
        [row["label"] for row in rows],
        {name: [row["columns"].get(name, "") for row in rows] for name in columns},
        np.array(digests, np.uint64).reshape(-1, 2),
    )
    outputs = [Reject(f"no {r['id']}") if r["x"] is None else np.array(r["x"]) for r in rows]
    with FeatureWriter(path, spec, listing, dim, dtype=dtype, sequences=sequences) as writer:
        writer.put(0, outputs)
    return FeatureFile(path)


def read(file):
    """The rows that a file holds; rejects are in file.rejects."""
    names = [name for name in file.names if name.startswith("columns/")]
    columns = {name.removeprefix("columns/"): decode(file.array(name)) for name in names}
    taken = file.take(np.arange(len(file)))
    return [
        {
            "id": name,
            "x": taken[i].tolist(),
            "label": file.classes[file.labels[i]] if file.labels[i] >= 0 else None,
            "columns": {column: values[i] for column, values in columns.items()},
        }
        for i, name in enumerate(decode(file.ids))
    ]


@st.composite
def tables(draw, sequences=False, dim=2, rejects=True):
    """Rows with ids of several scripts, one of which at least is no reject."""
    ids = draw(st.lists(ids_of_any_script, min_size=1, max_size=9, unique=True))
    columns = draw(st.lists(st.sampled_from(["speaker", "भाषा", "id_"]), unique=True, max_size=2))
    vector = st.lists(VALUES, min_size=dim, max_size=dim)
    value = st.lists(vector, min_size=1, max_size=4) if sequences else vector
    rows = [
        {
            "id": name,
            "x": draw(value if not i or not rejects else st.none() | value),
            "label": draw(st.none() | st.sampled_from(NAMES)),
            "columns": {c: draw(st.sampled_from(["", *NAMES, 'a "b",\nc'])) for c in columns},
        }
        for i, name in enumerate(ids)
    ]
    for row in rows:
        if row["x"] is None:  # a reject keeps its id and its reason, nothing else
            row["label"], row["columns"] = None, dict.fromkeys(columns, "")
    return rows


ids_of_any_script = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=4
) | st.builds("{}/{}".format, st.sampled_from(NAMES), st.integers(0, 99))
