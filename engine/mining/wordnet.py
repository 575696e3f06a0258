"""Class names compared by the nouns of WordNet that they may mean."""

import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from xmg.cache import XmgError
from xmg.engine.mining.names import words
from xmg.engine.mining.similarity import Matrix, Similarity, with_equal_names

_PLACES: Final = ("corpora/wordnet", "corpora/wordnet.zip/wordnet/")
_RARER: Final = 0.05  # WordNet lists senses from the most used on; the n-th counts 1 / (1 + 0.05 n)
_PART: Final = 0.9  # a word before the last one of a name tells less than the last
_MEASURE: Final = "Wu-Palmer similarity of WordNet nouns, rarer senses and first words discounted"

Ancestors = dict[str, tuple[int, int]]  # hypernym -> (steps up to it, its depth)


@dataclass(frozen=True, slots=True)
class Sense:
    """A noun that a class name may mean, and how likely it is meant, in (0, 1]."""

    synset: str  # such as dog.n.01
    weight: float
    ancestors: Ancestors


def by_wordnet(names: Sequence[str], folder: Path | None = None) -> Similarity:
    """Compare names by Wu and Palmer (1994, "Verbs semantics and lexical selection"):

        sim(a, b) = max over senses x of a, y of b and their common hypernyms l of
                    w(x) w(y) 2 d(l) / (steps(x, l) + steps(y, l) + 2 d(l)),

    d(l) = nodes on the longest way from l to the root. The senses of a name are those of the
    whole name where WordNet has it (electric_guitar), else of its last word (keyboard_typing),
    and with a weight of 0.9 of each other word; w falls with the rank of the sense, since a
    plain maximum finds the cat that is a woman. Names of the same words have similarity 1.
    folder: where WordNet lies, by default what nltk finds. Raises XmgError where nltk or
    WordNet is absent.
    """
    reader = Nouns(open_wordnet(folder))
    senses = [reader.senses(name) for name in names]
    known = {name: found for name, found in zip(names, senses, strict=True) if found}

    def evidence(source: str, target: str) -> str:
        if source not in known or target not in known:
            return "unknown to WordNet"
        x, y, common = _best(known[source], known[target])
        if not common:
            return "nothing in common"
        return f"{x} is {y}" if x == y else f"{x} and {y} are both {common}"

    values = with_equal_names(names, _matrix(senses))
    unknown = tuple(name for name in names if name not in known)
    return Similarity(values, _MEASURE, unknown, evidence)


class Nouns:
    """The noun senses of words and names, each looked up once."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self._senses: dict[str, list[Any]] = {}
        self._ancestors: dict[str, Ancestors] = {}

    def senses(self, name: str) -> list[Sense]:
        """Every sense of a class name; empty where WordNet has no noun for it."""
        weights: dict[str, float] = {}
        synsets: dict[str, Any] = {}
        for word, share in self._parts(words(name)):
            for rank, synset in enumerate(self._lookup(word)):
                key, weight = synset.name(), share / (1 + _RARER * rank)
                weights[key] = max(weights.get(key, 0.0), weight)
                synsets[key] = synset
        return [Sense(key, w, self.ancestors(synsets[key])) for key, w in weights.items()]

    def ancestors(self, synset: Any) -> Ancestors:
        """Hypernyms of a synset, itself among them, with the fewest steps up to each."""
        if synset.name() not in self._ancestors:
            steps = {synset: 0}
            queue = [synset]
            for lower in queue:
                for upper in (*lower.hypernyms(), *lower.instance_hypernyms()):
                    if upper not in steps:
                        steps[upper] = steps[lower] + 1
                        queue.append(upper)
            found = {upper.name(): (n, upper.max_depth() + 1) for upper, n in steps.items()}
            self._ancestors[synset.name()] = found
        return self._ancestors[synset.name()]

    def _parts(self, spelt: Sequence[str]) -> list[tuple[str, float]]:
        """What to look up for a name of these words, and how much each counts."""
        *before, last = spelt or [""]
        whole = ["_".join(spelt), "".join(spelt)] if before else [last]
        if before and any(self._lookup(word) for word in whole):
            return [*((word, 1.0) for word in whole), *((word, _PART) for word in spelt)]
        return [(last, 1.0), *((word, _PART) for word in before)]

    def _lookup(self, word: str) -> list[Any]:
        if word not in self._senses:
            self._senses[word] = self._reader.synsets(word, "n") if word else []
        return self._senses[word]


def _matrix(senses: Sequence[Sequence[Sense]]) -> Matrix:
    """(N, N) similarities of N names; 0 where a name has no sense, but 1 on the diagonal.

    One pass over all hypernyms, each raising the pairs of senses below it: every pair of
    senses in turn would take minutes for a thousand names.
    """
    owners = np.array([i for i, found in enumerate(senses) for _ in found], np.int64)
    rows = [sense for found in senses for sense in found]  # (E,)
    below: defaultdict[str, list[int]] = defaultdict(list)
    for row, sense in enumerate(rows):
        for hypernym in sense.ancestors:
            below[hypernym].append(row)
    best = np.zeros((len(rows), len(rows)), np.float32)  # (E, E)
    for hypernym, under in below.items():
        steps = np.array([rows[i].ancestors[hypernym][0] for i in under], np.float32)
        twice = np.float32(2 * rows[under[0]].ancestors[hypernym][1])
        place = np.ix_(under, under)
        best[place] = np.maximum(best[place], twice / (steps[:, None] + steps[None] + twice))
    weights = np.array([sense.weight for sense in rows], np.float32)
    best *= weights[:, None] * weights[None]
    return _best_by_name(best, owners, len(senses))


def _best_by_name(best: npt.NDArray[np.float32], owners: npt.NDArray[np.int64], n: int) -> Matrix:
    """The maximum over the senses of each two names; owners (E,) ascend."""
    values = np.eye(n)
    if len(owners):
        known, starts = np.unique(owners, return_index=True)
        by_row = np.maximum.reduceat(best, starts, axis=0)
        values[np.ix_(known, known)] = np.maximum.reduceat(by_row, starts, axis=1)
        np.fill_diagonal(values, 1)
    return values


def _best(source: Sequence[Sense], target: Sequence[Sense]) -> tuple[str, str, str]:
    """The two senses and the common hypernym that make the similarity of two names, or ""."""
    found = [
        (x.weight * y.weight * _wu_palmer(x, y, hypernym), x.synset, y.synset, hypernym)
        for x in source
        for y in target
        for hypernym in x.ancestors.keys() & y.ancestors.keys()
    ]
    return min(found, key=lambda entry: (-entry[0], entry[1:]), default=(0, "", "", ""))[1:]


def _wu_palmer(x: Sense, y: Sense, hypernym: str) -> float:
    (up, depth), (other, _) = x.ancestors[hypernym], y.ancestors[hypernym]
    return 2 * depth / (up + other + 2 * depth)


@cache  # reading takes seconds, and nltk leaves the closing of its files to chance
def open_wordnet(folder: Path | None = None) -> Any:
    """nltk's reader of WordNet in `folder`, by default where nltk finds it.

    folder: holds corpora/wordnet as on nltk.data.path, or is that folder itself.
    Raises XmgError where nltk or WordNet is absent.
    """
    try:
        import nltk
        from nltk.corpus.reader.wordnet import WordNetCorpusReader
    except ImportError as error:
        raise XmgError(
            f"WordNet is read by nltk, which does not load ({error}). fix: pip install 'xmg[pair]'"
        ) from error
    if folder is not None and folder.resolve().parts[-2:] == ("corpora", "wordnet"):
        folder = folder.resolve().parents[1]  # nltk looks for files by corpora/wordnet
    if folder is not None and str(folder.resolve()) not in nltk.data.path:
        nltk.data.path.append(str(folder.resolve()))  # nltk opens no file outside its path
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as that other languages than English are absent
        place = _place(nltk, folder)
        try:
            return WordNetCorpusReader(place, None)
        except (OSError, ValueError, LookupError) as error:
            raise XmgError(f"{place} holds no WordNet that nltk can read: {error}") from error


def _place(nltk: Any, folder: Path | None) -> Any:
    """Path to the data files of WordNet."""
    beside = () if folder is None else (folder / "corpora" / "wordnet", folder / "wordnet", folder)
    for place in beside:
        if (place / "data.noun").is_file():
            return str(place.resolve())
    for name in _PLACES:
        try:
            return nltk.data.find(name, None if folder is None else [str(folder.resolve())])
        except LookupError:
            continue
    where = "on nltk.data.path" if folder is None else f"in {folder}"
    raise XmgError(
        f"no WordNet {where}. fix: python -m nltk.downloader wordnet, or --wordnet FOLDER that "
        "holds corpora/wordnet"
    )
