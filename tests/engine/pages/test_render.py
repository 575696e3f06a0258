"""What comes from data is text and stays text."""

import hostile
import html_page
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError

from xmg.engine.pages.items import Item, Search, Shown
from xmg.engine.pages.render import page, plain
from xmg.engine.tables import Cell, Table

TABLE = Table("files", ["", "x"], [["file", Cell("b", "a")]], 2)


def shown(name, item=None):
    search = Search(Item(name, name, item, name), [Item(name, None, item, name, True)])
    table = Table(name, [name, "n"], [[name, Cell(name, name)]], 1)
    return page("retrieve.html", side="source", away="target", lines=[name], searches=[search],
                files=table, versions=TABLE)  # fmt: skip


@pytest.mark.parametrize("name", hostile.NAMES)
def test_hostile_names_are_text(name):
    made = html_page.read(shown(name, Shown("text", name)))
    assert made.texts.count(plain(name)) >= 9
    assert any(t["aria-label"] == plain(name) for t in made.all("div") if "aria-label" in t)


@given(st.text(min_size=1))
def test_any_text_is_text(name):
    made = html_page.read(shown(name, Shown("unread", name)))
    assert plain(name) in made.text


@given(st.text())
def test_plain_text_has_no_control_characters(text):
    found = plain(text)
    assert len(found) == len(text) and plain(found) == found
    assert not set(found) & set(map(chr, [*range(9), *range(11, 32), 127, 0x202E, 0x2066]))


def test_what_people_write_stays():
    text = "naïve 猫\n\t👩\u200d🚀 ❤\ufe0f क्\u200dष می\u200cخ"
    assert plain(text) == text


def test_a_value_that_is_missing_is_an_error():
    with pytest.raises(UndefinedError):
        page("retrieve.html", side="source")
