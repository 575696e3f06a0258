"""Everything in a feature file but its rows: ids, labels, classes and their index, rejects."""

from collections.abc import Mapping

import numpy as np

from xmg.cache import layout
from xmg.cache.identity import Listing
from xmg.cache.writing.assemble import Placement


def tables_of(listing: Listing, placed: Placement, sequences: bool) -> Mapping[str, layout.Array]:
    """Return every dataset but the rows and the checksums, by name."""
    kept = placed.kept.tolist()
    labels = [listing.labels[i] for i in kept]
    classes = sorted({name for name in labels if name is not None})
    code = {name: c for c, name in enumerate(classes)}
    codes = np.array([-1 if n is None else code[n] for n in labels], dtype="<i4")
    offsets, rows = layout.class_index(codes, len(classes))
    rejects = sorted(placed.rejects.items())
    tables = {
        "ids": layout.utf8([listing.ids[i] for i in kept]),
        "labels": codes,
        "classes": layout.utf8(classes),
        "class_index/offsets": offsets,
        "class_index/rows": rows,
        "contents": listing.contents[kept] if len(listing.contents) else listing.contents,
        "rejects/id": layout.utf8([listing.ids[i] for i, _ in rejects]),
        "rejects/reason": layout.utf8([reason for _, reason in rejects]),
    }
    for column, values in listing.columns.items():
        tables[f"columns/{column}"] = layout.utf8([values[i] for i in kept])
    if sequences:
        stops = np.cumsum(placed.n_rows[placed.kept])
        tables["offsets"] = np.concatenate([[0], stops]).astype("<i8")
    return tables
