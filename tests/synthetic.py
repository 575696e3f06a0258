"""Feature files and pairs of modalities whose truth is known."""

from pathlib import Path

import numpy as np

from xmg.cache import FeatureFile, FeatureSpec, FeatureWriter, Listing
from xmg.cache.pairs import PairedSets, group_pairs, join_ids
from xmg.engine.config import Config, make_config

SPEC = FeatureSpec(
    dataset="toy",
    encoder="none",
    weights_sha256="",
    preprocessing={"scale": 1},
    versions={"numpy": "2"},
)


def write(
    path: Path, features, labels, ids=None, columns=None, dtype="float32", sequences=False
) -> FeatureFile:
    """Write rows (or frames) as a feature file, and open it."""
    ids = [f"id{i:05d}" for i in range(len(features))] if ids is None else ids
    listing = Listing(list(ids), list(labels), columns or {})
    dim = np.shape(features[0])[-1]
    writer = FeatureWriter(path, SPEC, listing, dim, dtype=dtype, sequences=sequences)
    with writer:
        writer.put(0, features)
    return FeatureFile(path)


def names(n_classes: int, per_class: int) -> list[str]:
    """Class name of each row: c00, c00, ..., c01, ..."""
    return [f"c{c:02d}" for c in range(n_classes) for _ in range(per_class)]


def write_pair(
    folder: Path, *, n_classes=30, per_class=40, latent=16, dim=48, spread=0.6, nuisance=3.0, seed=0
) -> tuple[FeatureFile, FeatureFile]:
    """A source that shows the shared latent almost bare, and a target that drowns it.

    Latent rows are class means plus noise. The source is an orthogonal mix of them plus a
    little noise. The target is a mix of another sample of the same class's latent (paired rows
    are the same latent) and `dim - latent` nuisance directions as loud as `nuisance`: whitening
    makes them quiet, but every one of them still counts as much as a latent direction.
    """
    rng = np.random.default_rng(seed)
    n = n_classes * per_class
    means = np.repeat(rng.normal(size=(n_classes, latent)), per_class, 0)
    z = means + spread * rng.normal(size=(n, latent))
    source = z @ _orthogonal(rng, latent) + 0.05 * rng.normal(size=(n, latent))
    noise = nuisance * rng.normal(size=(n, dim - latent))
    target = np.hstack([z, noise]) @ _orthogonal(rng, dim)
    labels = names(n_classes, per_class)
    return (
        write(folder / "source.h5", source.astype("f4"), labels),
        write(folder / "target.h5", target.astype("f4"), labels),
    )


def config_of(source: FeatureFile, target: FeatureFile, **settings) -> Config:
    """Small tasks over two feature files."""
    small = {"n_way": 3, "n_query": 4, "shots": (1, 3), "n_tasks": 2, "n_repeats": 2, "width": 16}
    files = {"source": source.path, "target": target.path}
    return make_config(**{**files, **small, **settings})


def sets_of(source: FeatureFile, target: FeatureFile, classes: list[str]) -> PairedSets:
    """Pairs of equal id of these classes, a set for each class."""
    s, t = join_ids(source, target)
    kept = np.isin(source.labels[s], [source.classes.index(name) for name in classes])
    keys = [source.classes[c] for c in source.labels[s[kept]]]
    return group_pairs(s[kept], t[kept], keys)


def _orthogonal(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.linalg.qr(rng.normal(size=(n, n)))[0]
