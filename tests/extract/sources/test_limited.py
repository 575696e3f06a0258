import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmg.extract.sources import open_source
from xmg.extract.sources.limited import limit, spread
from xmg.extract.types import Sample, Source


def source(n=10):
    samples = [Sample(f"id{i}", str(i), f"class{i // 5}") for i in range(n)]
    return Source("s", samples, {"double": [str(2 * i) for i in range(n)]})


@given(st.integers(1, 500), st.integers(1, 600))
def test_spread(n_all, n):
    rows = spread(n_all, n)
    assert len(rows) == min(n, n_all) and rows == sorted(set(rows))
    assert rows[0] == 0 and rows[-1] < n_all
    gaps = {b - a for a, b in zip(rows, [*rows[1:], n_all], strict=True)}
    assert max(gaps) - min(gaps) <= 1


@given(st.integers(1, 500), st.integers(1, 600))
def test_twice_as_many_hold_all_of_the_fewer(n_all, n):
    assert set(spread(n_all, n)) <= set(spread(n_all, 2 * n))


def test_ids_labels_contents_and_columns_are_cut_alike():
    part = limit(source(), 4)
    assert part.name == "s"
    assert list(part.samples) == [source().samples[i] for i in (0, 2, 5, 7)]
    assert part.columns == {"double": ["0", "4", "10", "14"]}


@pytest.mark.parametrize("n", [10, 11])
def test_a_limit_that_is_none_changes_nothing(n):
    whole = source()
    assert limit(whole, n) is whole


def test_sorted_classes_are_all_met():
    part = limit(source(100), 20)
    assert {s.label for s in part.samples} == {f"class{i}" for i in range(20)}


def test_a_text_without_an_id_keeps_the_number_of_its_row(tmp_path):
    with open(tmp_path / "t.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text",), *((f"text {i}",) for i in range(6))])
    part = limit(open_source(tmp_path / "t.csv", "text"), 2)
    assert [(s.id, s.content) for s in part.samples] == [("000000", "text 0"), ("000003", "text 3")]
