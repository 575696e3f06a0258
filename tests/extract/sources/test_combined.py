import numpy as np
import pytest

from xmg.cache import XmgError
from xmg.extract.sources.combined import combine
from xmg.extract.types import Sample, Source


def source(name, n, **columns):
    return Source(name, [Sample(str(i), f"{name} {i}", name) for i in range(n)], columns)


def test_sources_one_after_the_other():
    parts = [source("a", 2, speaker=["x", "y"]), source("b", 3, take=["1", "2", "3"])]
    whole = combine(parts)
    assert whole.name == "a+b" and len(whole.samples) == 5
    assert [s.id for s in whole.samples] == ["a/0", "a/1", "b/0", "b/1", "b/2"]
    assert [s.content for s in whole.samples] == [s.content for p in parts for s in p.samples]
    np.testing.assert_array_equal(whole.columns["speaker"], ["x", "y", "", "", ""])
    np.testing.assert_array_equal(whole.columns["take"], ["", "", "1", "2", "3"])
    assert combine(parts[:1]) is parts[0]


def test_two_of_one_name():
    with pytest.raises(XmgError, match=r"two inputs are called 'a'\. fix: rename one, or leave"):
        combine([source("a", 1), source("b", 1), source("a", 2)])
