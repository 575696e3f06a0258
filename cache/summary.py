"""What a feature file holds, at a glance."""

from typing import Any

import numpy as np

from xmg.cache.read import FeatureFile


def summary(file: FeatureFile) -> dict[str, Any]:
    """Describe a file by values that JSON can hold; classes by falling size, then by name.

    Reads the labels, the rejects and, of sequences, the offsets, but no features.
    """
    counts = dict(zip(file.classes, np.diff(file.class_offsets).tolist(), strict=True))
    found = file.provenance
    return {
        "path": str(file.path),
        "dataset": file.dataset,
        "encoder": file.encoder,
        "weights_sha256": found["weights_sha256"],
        "preprocessing": found["preprocessing"],
        "versions": found["versions"],
        "rows": len(file),
        "dim": file.dim,
        "dtype": file.dtype.name,
        "sequences": _lengths(file) if file.is_sequence else None,
        "bytes": file.path.stat().st_size,
        "classes": dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        "unlabelled": int((file.labels < 0).sum()),
        "columns": file.columns,
        "rejects": dict(file.rejects),
        "fingerprint": file.fingerprint,
    }


def _lengths(file: FeatureFile) -> dict[str, float]:
    lengths = np.diff(file.offsets)
    return {
        "frames": int(lengths.sum()),
        "shortest": int(lengths.min()),
        "median": float(np.median(lengths)),
        "longest": int(lengths.max()),
    }
