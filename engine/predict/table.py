"""Answers as a table: a line for each input, and what may be expected of them."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from xmg.cache import FeatureFile, XmgError, decode
from xmg.cache.outputs import appearing
from xmg.engine.predict.classifier import CrossModalClassifier

UNSURE: Final = "unsure"
UNREADABLE: Final = "unreadable"
COLUMNS: Final = (
    "file", "label", "probability", "runner_up", "runner_up_probability", "answer", "possible",
)  # fmt: skip
_ROWS: Final = 4096
_SEQUENCES: Final = 128  # the same where rows are sequences of frames
Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """How often labels were right, with a 95% interval (Wilson, JASA 1927) over recordings.

    covered: how often the prediction set held the true class; sure: how often it held one alone.
    """

    n: int
    right: int
    low: float
    high: float
    covered: float
    sure: float

    @property
    def accuracy(self) -> float:
        """Share that is right."""
        return self.right / self.n


@dataclass(frozen=True, slots=True)
class Summary:
    """What the table holds: counts by answer; truth where inputs were labelled all along."""

    answers: dict[str, int]
    n_unreadable: int
    truth: Estimate | None


def fit_on(
    classifier: CrossModalClassifier, labelled: FeatureFile, coverage: float
) -> Estimate | None:
    """Fit on the labelled rows of a file, and leave each of them out in turn.

    Rows of one recording are left out together. A row counts where its class has others; None where
    no class has. Raises XmgError as `labelled_rows`.
    """
    x, names, groups = labelled_rows(labelled)
    classifier.fit(x, names)
    y = np.searchsorted(classifier.classes_, names)
    pairs = Counter(zip(groups, names, strict=True))
    sizes = Counter(names)
    fair = [sizes[name] > pairs[group, name] for group, name in zip(groups, names, strict=True)]
    if not any(fair):
        return None
    p = classifier.leave_out(x, names, groups)[fair]
    n_units = len({group for group, counts in zip(groups, fair, strict=True) if counts})
    return _estimate(_tally(p, classifier.sets_of(p, coverage), y[fair]), n_units)


def labelled_rows(file: FeatureFile) -> tuple[Any, list[str], list[str]]:
    """Features, class names and recordings of the labelled rows.

    Raises XmgError where labels are of fewer than two classes.
    """
    rows = np.flatnonzero(file.labels >= 0)
    names = [name for name in file.class_names(rows) if name is not None]
    if len(set(names)) < 2:
        raise XmgError(
            f"{file.path} has labels of {len(set(names))} classes, and answers need two at "
            "least. fix: a folder for each class, with one labelled file or more in it"
        )
    for name in (UNSURE, UNREADABLE):
        if name in names:
            raise XmgError(f"a class of {file.path} is called {name!r}, an answer. fix: rename it")
    return file.take(rows), names, _groups(file, rows)


def write_answers(
    classifier: CrossModalClassifier,
    labelled: FeatureFile,
    inputs: FeatureFile,
    out: Path,
    coverage: float,
) -> Summary:
    """Write a CSV of COLUMNS with a line for each input of a file, in its order; memory stays flat.

    label: the likeliest class. answer: the same, or "unsure" where the prediction set of this
    coverage holds more classes; possible: the set, the likeliest first, joined by "|". Inputs that
    could not be read follow, with the answer "unreadable" and the reason in `possible`. The file
    appears whole. Labels that inputs have already are compared where all are known classes, but
    for inputs that are labelled rows themselves.
    """
    answers: Counter[str] = Counter()
    tally: Counter[str] = Counter()
    recordings: set[str] = set()
    numbers = _numbers(classifier, inputs)
    fresh = None if numbers is None else _fresh(labelled, inputs)
    with appearing(out) as raw:
        text = io.TextIOWrapper(raw, encoding="utf-8", newline="")
        writer = csv.writer(text)
        writer.writerow(COLUMNS)
        for rows, p in _blocks(classifier, inputs):
            sets = classifier.sets_of(p, coverage)
            lines = list(_lines(classifier, decode(inputs.ids[rows]), p, sets))
            answers.update(line[COLUMNS.index("answer")] for line in lines)
            writer.writerows(lines)
            if numbers is not None and fresh is not None:
                y = np.where(fresh[rows], numbers[inputs.labels[rows]], -1)
                tally += _tally(p[y >= 0], sets[y >= 0], y[y >= 0])
                if inputs.column("recording") is not None:
                    recordings.update(_groups(inputs, rows[y >= 0]))
        writer.writerows([name, *[""] * 4, UNREADABLE, why] for name, why in inputs.rejects)
        text.flush()
        text.detach()
    truth = _estimate(tally, len(recordings) or tally["n"]) if tally["n"] else None
    return Summary(dict(answers), len(inputs.rejects), truth)


def _tally(p: Array, sets: npt.NDArray[np.bool_], y: npt.NDArray[Any]) -> Counter[str]:
    """Counts of probabilities and sets (n, n_way) of rows whose true classes (n,) are known."""
    return Counter(
        n=len(y),
        right=int((p.argmax(1) == y).sum()),
        covered=int(sets[np.arange(len(y)), y].sum()),
        sure=int((sets.sum(1) == 1).sum()),
    )


def _estimate(tally: Counter[str], n_units: int) -> Estimate:
    """n_units: how many rows count as independent; those of one recording are one."""
    n, right = tally["n"], tally["right"]
    units_right = round(n_units * right / n)
    low, high = stats.binomtest(units_right, n_units).proportion_ci(method="wilson")
    return Estimate(n, right, low, high, tally["covered"] / n, tally["sure"] / n)


def _numbers(classifier: CrossModalClassifier, inputs: FeatureFile) -> npt.NDArray[np.int64] | None:
    """Number of the class of each label that inputs came with, of -1 too: -1.

    None where there are none, or some are of classes that are not asked for.
    """
    known = {str(name): c for c, name in enumerate(classifier.classes_)}
    if not inputs.classes or not set(inputs.classes) <= set(known):
        return None
    return np.array([*(known[name] for name in inputs.classes), -1], np.int64)


def _fresh(labelled: FeatureFile, inputs: FeatureFile) -> npt.NDArray[np.bool_]:
    """(N,) whether an input is none of the labelled rows: by content where known, else by id."""
    rows = np.flatnonzero(labelled.labels >= 0)
    by_id: npt.NDArray[np.bool_] = ~np.isin(inputs.ids, labelled.ids[rows])
    if not len(labelled.contents) or not len(inputs.contents):
        return by_id
    known = {tuple(one) for one in labelled.contents[rows].tolist()}
    by_content = np.array([tuple(one) not in known for one in inputs.contents.tolist()], np.bool_)
    return np.where((inputs.contents == 0).all(1), by_id, by_content)  # 0: nobody looked inside


def _blocks(
    classifier: CrossModalClassifier, inputs: FeatureFile
) -> Iterator[tuple[npt.NDArray[np.int64], Array]]:
    size = _SEQUENCES if inputs.is_sequence else _ROWS
    for first in range(0, len(inputs), size):
        rows = np.arange(first, min(first + size, len(inputs)))
        yield rows, classifier.predict_proba(inputs.take(rows))


def _lines(
    classifier: CrossModalClassifier,
    names: Iterable[str],
    probabilities: Array,
    sets: npt.NDArray[np.bool_],
) -> Iterator[list[str]]:
    classes = [str(name) for name in classifier.classes_]
    order = np.argsort(-probabilities, 1, kind="stable")
    for name, p, held, ranked in zip(names, probabilities, sets, order.tolist(), strict=True):
        first, second = ranked[:2]
        possible = [classes[c].replace("|", "\\|") for c in ranked if held[c]]
        yield [
            name, classes[first], f"{p[first]:.4f}", classes[second], f"{p[second]:.4f}",
            classes[first] if len(possible) == 1 else UNSURE, "|".join(possible),
        ]  # fmt: skip


def _groups(file: FeatureFile, rows: npt.NDArray[np.int64]) -> list[str]:
    """The recording of each row; a row without one is its own."""
    names = file.column("recording")
    if names is None:
        return [f"row {row}" for row in rows.tolist()]
    found = decode(names[rows])
    return [name or f"row {row}" for name, row in zip(found, rows.tolist(), strict=True)]
