import re

import hostile
import numpy as np
import pytest
from html_page import Page

from xmg.cache import XmgError
from xmg.engine.pages.figures import COLOURS, MARKERS, drawing, label, styles, to_svg
from xmg.engine.pages.run_page import run_page


def drawn(alt, names):
    with drawing(4, 3) as canvas:
        ax = canvas.subplots()
        for name, style in zip(names, styles(), strict=False):
            ax.plot([0, 1], np.random.default_rng(0).random(2), label=label(name), **style)
        ax.set_title(label(names[0]))
        ax.legend()
        return to_svg(canvas, alt)


@pytest.mark.parametrize("name", hostile.NAMES)
def test_hostile_names_are_text_in_plots(name):
    svg = Page(drawn(f"alt {name}", [name, "plain"]))
    assert {tag for tag, _ in svg.tags} <= {"svg", "defs", "g", "path", "use", "text", "clippath",
                                            "rect"}  # fmt: skip
    assert not [a for _, a in svg.tags if any(key.startswith("on") for key in a)]
    assert label(name) in svg.text


def test_two_plots_of_a_page_share_no_id():
    pages = [drawn(alt, ["a"]) for alt in ("one", "another")]
    ids = [re.findall(r'id="([^"]+)"', text) for text in pages]
    assert all(ids) and not set(ids[0]) & set(ids[1])
    for text, own in zip(pages, ids, strict=True):
        assert set(re.findall(r'(?:url\(|href=")#([^")]+)', text)) == set(own)
        assert "http" not in text and "<style" not in text and "<metadata" not in text


def test_the_same_plot_is_the_same_text():
    assert drawn("one", ["a"]) == drawn("one", ["a"])


def luminance(colour):
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("colour", COLOURS)
def test_colours_can_be_read_on_white(colour):
    """WCAG 2.2, 1.4.3: 4.5 for letters."""
    assert 1.05 / (luminance(colour) + 0.05) >= 4.5


def test_lines_differ_in_colour_or_marker():
    n = len(COLOURS) * len(MARKERS)
    seen = {tuple(style.values()) for _, style in zip(range(n), styles(), strict=False)}
    assert len(seen) == n


def test_long_names_are_cut():
    assert label("x" * 99) == "x" * 27 + "…"
    assert label(" a\nb ") == "a b"
    assert "_hidden" in Page(drawn("legend", ["title", "_hidden"])).text


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(XmgError, match=r"pip install 'xmg\[report\]'"), drawing(1, 1):
        pass


def test_without_matplotlib_nothing_is_evaluated_first(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(XmgError, match=r"pip install 'xmg\[report\]'"):
        run_page(tmp_path / "no run either")
