"""spec.json lets a report be made where nothing else is left of an ablation."""

import json
import shutil

import pytest
import synthetic

from xmg.cache import XmgError
from xmg.engine.ablation.cells import FAILURE
from xmg.engine.ablation.keeping import SPEC, keep, read_kept
from xmg.engine.ablation.results import read
from xmg.engine.ablation.runner import run_cells
from xmg.engine.ablation.spec import cells_of, read_spec
from xmg.engine.ablation.tables import markdown, sections
from xmg.engine.pages.ablation_page import ablation_page
from xmg.engine.tables import Table

TEXT = """
source = "source.h5"
target = "target.h5"
systems = ["class-mean", "cca"]
shots = [1, 3]
seeds = 2
reference = "cca"
[settings]
n_way = 3
n_query = 4
n_tasks = 2
n_repeats = 2
n_validation = 4
[axes]
label_noise = [0.0, 0.2]
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    synthetic.write_pair(folder, n_classes=12, per_class=12, latent=4, dim=6)
    (folder / "spec.toml").write_text(TEXT)
    spec = read_spec(folder / "spec.toml")
    cells = cells_of(spec)
    folders = run_cells(cells, folder / "out")
    keep(folder / "out", "<b>title", spec, folders)
    return folder, spec, read(cells, folders)


@pytest.fixture
def out(finished, tmp_path):
    """A copy, without the feature files."""
    shutil.copytree(finished[0] / "out", tmp_path / "out")
    return tmp_path / "out"


def test_what_is_kept_is_what_was_run(finished, out):
    _, spec, found = finished
    kept, again = read_kept(out)
    assert kept.title == "<b>title" and kept.spec.shots == spec.shots
    assert kept.spec.source == spec.source.resolve()
    assert [(o.cell, o.result) for o in again] == [(o.cell, o.result) for o in found]
    assert markdown("t", again, [1, 3], "CCA") == markdown("t", found, [1, 3], "CCA")


def test_the_page_has_the_tables(finished, out):
    import html_page

    page = html_page.read(ablation_page(out))
    tables = [p for s in sections(finished[2], [1, 3], "CCA") for p in s.parts
              if isinstance(p, Table)]  # fmt: skip
    assert len(tables) == 4
    for table in tables:
        for line in table.cells:
            for cell in line:
                assert cell.text in page.text and cell.strong in page.text
    assert "label_noise = 0.2" in page.text and "<b>title" in page.text
    assert len(page.all("svg")) == 2  # an axis of numbers: a panel for each shot count
    assert str(finished[0]) not in page.text


def test_failures_are_listed(out):
    kept, _ = read_kept(out)
    cell = out / kept.cells[0]
    (cell / "result.json").unlink()
    (cell / FAILURE).write_text(f"<script>no luck</script> with {kept.spec.source}")
    text = ablation_page(out)
    assert "with source.h5" in text and str(kept.spec.source) not in text  # folders are private
    assert "&lt;script&gt;no luck" in text and "<script" not in text
    for name in kept.cells:
        (out / name / "result.json").unlink(missing_ok=True)
    assert "No row has finished." in ablation_page(out)


def test_folders_without_it_are_told_the_command(out):
    (out / SPEC).unlink()
    with pytest.raises(XmgError, match=r"(?s)lacks spec.json.*fix: repeat .*xmg ablate SPEC -o"):
        read_kept(out)


@pytest.mark.parametrize(
    "change",
    [
        lambda kept: {**kept, "cells": kept["cells"][1:]},
        lambda kept: {**kept, "cells": ["../../elsewhere"] * len(kept["cells"])},
        lambda kept: {**kept, "spec": {**kept["spec"], "seeds": 0}},
        lambda kept: {**kept, "spec": {**kept["spec"], "settings": {"n_way": "many"}}},
        lambda kept: [],
    ],
)
def test_a_spec_that_was_edited_is_refused(out, change):
    kept = json.loads((out / SPEC).read_text())
    (out / SPEC).write_text(json.dumps(change(kept)))
    with pytest.raises(XmgError, match="fix: repeat"):
        read_kept(out)
    (out / SPEC).write_bytes(b"\xff{")
    with pytest.raises(XmgError, match="fix: repeat"):
        read_kept(out)
