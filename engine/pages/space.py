"""A map of the aligned space: both modalities in one picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xmg.cache.pairs import Rows
from xmg.engine.analysis.retrieval import Aligned
from xmg.engine.data.problem import strong_pairs
from xmg.engine.data.streams import Stream, generator
from xmg.engine.pages.figures import COLOURS, WIDTH, Figure, drawing, label, to_svg
from xmg.engine.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GROUPS: Final = 6  # of a panel: as many colours as can be told apart
_ROWS: Final = 30  # of a group and modality
_FEWEST: Final = 12  # points that t-SNE can make sense of
_NONE: Final = np.empty(0, np.int64)
Points = npt.NDArray[np.floating]
NOTE = (
    "t-SNE (van der Maaten, Hinton, 2008) of unit embeddings by cosine. Near points are alike; "
    "distances between far groups and the sizes of groups say little. The table counts in the "
    "whole space."
)


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of a class or a concept, a few of each modality."""

    name: str
    unseen: bool
    source: Rows
    target: Rows


def space_map(aligned: Aligned) -> Figure:
    """Some classes of meta-training and some never seen, by e_s^meta and e_t^meta before any label.

    Which ones, and which of their rows, is drawn by the run's seed.
    """
    groups = groups_of(aligned)
    z = [(aligned.embed("source", g.source), aligned.embed("target", g.target)) for g in groups]
    flat = torch.cat([part for both in z for part in both]).numpy()
    xy = flatten(flat, aligned.config.seed)
    sizes = [len(part) for both in z for part in both]
    parts = np.split(xy, np.cumsum(sizes)[:-1])
    table = _table(groups, z)
    weak = aligned.weak and " New classes have no source rows, as pairs are weak."
    alt = (
        f"Map of {len(flat)} embeddings of {len(groups)} classes. "
        "The table below has their mean cosines."
    )
    titles = {False: "concepts of meta-training" if aligned.weak else "classes of meta-training",
              True: "classes never seen"}  # fmt: skip
    with drawing(WIDTH, 8.4) as canvas:
        axes = canvas.subplots(2, 1)
        for ax, unseen in zip(axes, titles, strict=True):
            ax.scatter(xy[:, 0], xy[:, 1], s=9, color="#e2e2e2", linewidths=0)
            mine = [(g, parts[2 * i : 2 * i + 2]) for i, g in enumerate(groups)
                    if g.unseen == unseen]  # fmt: skip
            _panel(ax, mine)
            ax.set(xticks=[], yticks=[])
            ax.set_title(titles[unseen], fontsize=10)
            ax.spines[:].set(visible=True, color="#ccc")
        svg = to_svg(canvas, alt)
    note = "Circles are source rows, triangles target rows; grey are those of the other panel. "
    return Figure("The aligned space", svg, note + NOTE + (weak or ""), table)


def flatten(z: Points, seed: int) -> Points:
    """Points (n, w) to (n, 2): t-SNE, and of very few the two principal components."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if len(z) < _FEWEST:
        return np.asarray(PCA(2, random_state=seed % 2**32).fit_transform(z))
    perplexity = min(30.0, (len(z) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, metric="cosine", random_state=seed % 2**32)
    return np.asarray(tsne.fit_transform(z))


def groups_of(aligned: Aligned) -> list[Group]:
    """Drawn groups of meta-training, then of meta-test classes."""
    rng = generator(aligned.config.seed, Stream.SHOWN)
    found: list[Group] = []
    for whole in (_trained(aligned), _unseen(aligned)):
        drawn = sorted(rng.permutation(len(whole))[:_GROUPS].tolist())
        found += [_fewer(whole[i], rng, aligned.weak) for i in drawn]
    return found


def _trained(aligned: Aligned) -> list[Group]:
    """Concepts, or the classes of strong pairs."""
    sets = aligned.problem.train.sets
    if not aligned.weak:
        return _by_class(aligned, sets.source_rows, sets.target_rows, unseen=False)
    return [
        Group(name, False, s, t)
        for name, s, t in zip(
            sets.names,
            np.split(sets.source_rows, sets.source_offsets[1:-1]),
            np.split(sets.target_rows, sets.target_offsets[1:-1]),
            strict=True,
        )
    ]


def _unseen(aligned: Aligned) -> list[Group]:
    pool = aligned.problem.test.target
    if aligned.weak:
        return [Group(n, True, _NONE, pool.members(c)) for c, n in enumerate(pool.classes)]
    source, target, _ = strong_pairs(aligned.config, aligned.source, aligned.target)
    kept = np.isin(target, pool.rows)
    return _by_class(aligned, source[kept], target[kept], unseen=True)


def _by_class(aligned: Aligned, source: Rows, target: Rows, *, unseen: bool) -> list[Group]:
    """Pairs (P,) by the class of their target row."""
    labels = aligned.target.labels[target]
    order = np.argsort(labels, kind="stable")[np.count_nonzero(labels < 0) :]
    classes, starts = np.unique(labels[order], return_index=True)
    return [
        Group(aligned.target.classes[c], unseen, source[own], target[own])
        for c, own in zip(classes, np.split(order, starts)[1:], strict=True)
    ]


def _fewer(group: Group, rng: np.random.Generator, weak: bool) -> Group:
    """Some rows of each modality; of strong pairs both rows."""
    target = rng.permutation(len(group.target))[:_ROWS]
    source = rng.permutation(len(group.source))[:_ROWS] if weak else target
    return Group(group.name, group.unseen, group.source[source], group.target[target])


def _panel(ax: "Axes", groups: Sequence[tuple[Group, Sequence[Points]]]) -> None:
    for (group, (source, target)), colour in zip(groups, COLOURS, strict=False):
        for points, marker in ((source, "o"), (target, "^")):
            ax.scatter(
                points[:, 0],
                points[:, 1],
                marker=marker,
                s=18,
                color=colour,
                alpha=0.8,
                linewidths=0,
            )
        x, y = np.median(target, 0)[0], np.percentile(target, 90, 0)[1]
        ax.text(x, y, label(group.name), ha="center", va="bottom", fontsize=8.5, color=colour,
                bbox={"facecolor": "#fff", "alpha": 0.7, "pad": 0.5, "linewidth": 0})  # fmt: skip
        ax.scatter([], [], marker="s", s=26, color=colour, label=label(group.name))
    ax.scatter([], [], marker="o", s=22, color="#555", label="source")
    ax.scatter([], [], marker="^", s=24, color="#555", label="target")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=3, fontsize="small")


def _table(groups: Sequence[Group], z: Sequence[tuple[Tensor, Tensor]]) -> Table:
    """Mean cosines of each group, within it and with the other groups of its panel."""
    lines = []
    for i, (group, (s, t)) in enumerate(zip(groups, z, strict=True)):
        others = [zz for j, zz in enumerate(z) if j != i and groups[j].unseen == group.unseen]
        t_other = torch.cat([t[:0], *(t for _, t in others)])
        lines.append(
            [
                group.name,
                "never seen" if group.unseen else "meta-training",
                str(len(s)),
                str(len(t)),
                *(_cosine(a, b) for a, b in ((s, t), (s, t_other), (t, t), (t, t_other))),
            ]
        )
    head = ["class", "of", "source rows", "target rows", "source with own target",
            "source with other target", "target with own", "target with other"]  # fmt: skip
    return Table("Mean cosines in the aligned space", head, lines, 2)


def _cosine(a: Tensor, b: Tensor) -> str:
    """Mean over all pairs of two different rows; "-" where there is none."""
    if not len(a) or not len(b) or (a is b and len(a) < 2):
        return "-"
    cosines = a @ b.T
    if a is b:
        cosines = cosines[~torch.eye(len(a), dtype=torch.bool)]
    return f"{float(cosines.mean()):.2f}"
