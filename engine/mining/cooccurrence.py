"""Class names compared by the texts in which they occur together."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np

from xmg.engine.mining.names import singular, words
from xmg.engine.mining.similarity import Similarity, with_equal_names


def by_cooccurrence(names: Sequence[str], documents: Iterable[str]) -> Similarity:
    """Normalised pointwise mutual information (Bouma 2009), discounted where counts are small:

        sim(a, b) = n_ab / (n_ab + 1) log(n_ab n / (n_a n_b)) / log(n / n_ab),

    n documents, n_a of them with the name a. It lies in [-1, 1]: -1 = never together, 0 = as
    often as by chance. Without the discount (Pantel and Lin 2002) the rarest names win, which
    meet once by accident. A name occurs in a document where each of its words does, in any
    order, singular or plural. Names of the same words have similarity 1.
    """
    spelt = [frozenset(singular(word) for word in words(name)) for name in names]
    total, alone, together = _count(spelt, documents)
    values = np.full((len(names), len(names)), -1.0)
    for (i, j), n_ij in together.items():
        values[i, j] = values[j, i] = _npmi(n_ij, alone[i], alone[j], total)
    unknown = tuple(name for i, name in enumerate(names) if not alone[i])

    def evidence(source: str, target: str) -> str:
        i, j = sorted((names.index(source), len(names) - 1 - names[::-1].index(target)))
        return (
            f"together in {together.get((i, j), 0):,} of {total:,} texts, "
            f"alone in {alone[i]:,} and {alone[j]:,}"
        )

    measure = f"normalised pointwise mutual information in {total:,} texts"
    return Similarity(with_equal_names(names, values), measure, unknown, evidence)


def _count(
    spelt: Sequence[frozenset[str]], documents: Iterable[str]
) -> tuple[int, Mapping[int, int], Mapping[tuple[int, int], int]]:
    """Number of documents, of those with each name, and with each two names i < j."""
    holders = defaultdict(list)  # word -> names with it
    for i, own in enumerate(spelt):
        for word in own:
            holders[word].append(i)
    total, alone, together = 0, Counter[int](), Counter[tuple[int, int]]()
    for document in documents:
        total += 1
        present = {singular(word) for word in words(document)} & holders.keys()
        n_words = Counter(i for word in present for i in holders[word])
        found = sorted(i for i, n in n_words.items() if n == len(spelt[i]))
        alone.update(found)
        together.update(combinations(found, 2))
    return total, alone, together


def _npmi(n_ab: int, n_a: int, n_b: int, total: int) -> float:
    if n_ab == total:
        return 0.0  # in every text: that says nothing
    discount = n_ab / (n_ab + 1)
    return discount * math.log(n_ab * total / (n_a * n_b)) / math.log(total / n_ab)
