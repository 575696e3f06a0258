"""Which rows a map of the aligned space shows."""

from types import SimpleNamespace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from xmg.engine.pages.space import _by_class


@given(st.lists(st.integers(-1, 4), min_size=1, max_size=9), st.integers(0, 20), st.integers(0, 99))
def test_pairs_are_gathered_by_the_class_of_their_target_row(labels, n_pairs, seed):
    rng = np.random.default_rng(seed)
    source, target = rng.integers(0, 50, n_pairs), rng.integers(0, len(labels), n_pairs)
    file = SimpleNamespace(labels=np.array(labels, np.int32), classes=list("abcde"))
    found = _by_class(SimpleNamespace(target=file), source, target, unseen=True)
    pairs = list(zip(source.tolist(), target.tolist(), strict=True))
    wanted = {
        name: own
        for c, name in enumerate("abcde")
        if (own := [pair for pair in pairs if labels[pair[1]] == c])
    }
    assert all(group.unseen for group in found)
    assert [group.name for group in found] == list(wanted)
    for group in found:
        assert list(zip(group.source, group.target, strict=True)) == wanted[group.name]
