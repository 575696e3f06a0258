"""Numbers agree with their nouns."""

import pytest

from xmg.cache.counted import counted


@pytest.mark.parametrize(
    ("n", "thing", "words"),
    [
        (0, "row", "0 rows"),
        (1, "row", "1 row"),
        (1, "source class", "1 source class"),
        (12_000, "source class", "12,000 source classes"),
    ],
)
def test_a_number_and_its_noun(n, thing, words):
    assert counted(n, thing) == words
