"""What an ablation's plots show, by their values and their size."""

import re
import sys
from types import SimpleNamespace

import pytest

from xmg.cache import XmgError
from xmg.engine.ablation.plots import MOST, check_drawing, panels, plot
from xmg.engine.ablation.results import Finished


def found(axes, row="CROMA", accuracy=0.5, seeds=2):
    """Finished cells of one combination, a seed each, with one task of one repeat."""
    result = {"shots": {"1": {"tasks": [[accuracy]]}, "5": {"tasks": [[accuracy + 0.2]]}}}
    cells = [SimpleNamespace(label=row, axes=axes, seed=seed) for seed in range(seeds)]
    return [Finished(cell, result, None) for cell in cells]


def test_an_axis_of_numbers_has_a_panel_for_each_shot_count():
    cells = [one for x in (0.1, 0.5) for one in found({"noise": x}, accuracy=x)]
    assert [(title, name) for title, name, _ in panels(cells, [1, 5])] == [
        ("1-shot", "noise"), ("5-shot", "noise"),
    ]  # fmt: skip
    (_, _, lines), _ = panels(cells, [1, 5])
    assert [(x, round(y)) for x, y, *_ in lines["CROMA"]] == [(0.1, 10), (0.5, 50)]


def test_no_more_panels_than_anyone_looks_at(tmp_path):
    pytest.importorskip("matplotlib")
    many = [one for x in range(MOST + 5) for one in found({"loss": str(x)})]
    svg, png = plot(tmp_path / "accuracy", many, [1, 5])
    assert f"the first {MOST} of {MOST + 5} combinations" in svg.read_text("utf-8")
    width, height = re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', svg.read_text()).groups()
    assert max(float(width), float(height)) < 72 * 30  # inches
    few = plot(tmp_path / "few", many[: 2 * 6], [1, 5])[0].read_text("utf-8")
    assert few.count("labels per class") == 6 and "combinations" not in few
    assert png.stat().st_size


def test_a_combination_without_results_is_an_empty_panel(tmp_path):
    pytest.importorskip("matplotlib")
    failed = [Finished(one.cell, None, "why") for one in found({"loss": "x"})]
    svg, _ = plot(tmp_path / "accuracy", found({"loss": "a"}) + failed, [1, 5])
    assert "CROMA" in svg.read_text("utf-8")


def test_the_same_cells_make_the_same_bytes(tmp_path):
    """An ablation that goes on after an interruption ends with the files of an undisturbed one."""
    pytest.importorskip("matplotlib")
    made = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        paths = plot(folder / "accuracy", found({"loss": "a"}), [1, 5])
        made.append([path.read_bytes() for path in paths])
    assert made[0] == made[1] and b"dc:date" not in made[0][0]


def test_without_matplotlib(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(XmgError, match=r"pip install 'xmg\[ablate\]'"):
        check_drawing()
    with pytest.raises(XmgError, match="matplotlib"):
        plot(tmp_path / "x", found({}), [1])
