"""What a report says of a run agrees with what is counted by hand."""

import hostile
import numpy as np
import pytest
import synthetic

from xmg.cache import decode
from xmg.engine.analysis.predictions import examples
from xmg.engine.analysis.retrieval import items_of, open_aligned
from xmg.engine.evaluate import Result
from xmg.engine.meta_test import evaluate_run
from xmg.engine.pages.accuracy import accuracy
from xmg.engine.pages.confusion import confusion, counts
from xmg.engine.pages.curves import curves
from xmg.engine.pages.items import Shown, directions
from xmg.engine.pages.provenance import settings_table
from xmg.engine.pages.space import flatten, groups_of, space_map
from xmg.engine.run import read_metrics
from xmg.engine.tables import Cell
from xmg.engine.train import meta_train


@pytest.fixture(scope="module")
def strong(tmp_path_factory):
    folder = tmp_path_factory.mktemp("strong")
    files = synthetic.write_pair(folder, n_classes=12, per_class=12)
    settings = {"iterations": 4, "validate_every": 2, "n_validation": 2, "n_sets": 4}
    meta_train(synthetic.config_of(*files, **settings), folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def weak(tmp_path_factory):
    return hostile.world(tmp_path_factory.mktemp("weak"), kinds=("text", "text"))[0]


def test_accuracy_says_what_evaluation_says(strong):
    results = evaluate_run(strong)
    found = accuracy(results, "CROMA")
    lines = {line[0].text: line for line in found.figure.table.cells}
    for r in results:
        cell = lines[r.system][1 + [1, 3].index(r.shots)]
        assert f"{100 * r.mean:.1f} ± {100 * r.std:.1f}" in f"{cell.strong}{cell.text}"
    best = max((r for r in results if r.shots == 1), key=lambda r: r.mean)
    assert lines[best.system][1].strong == f"{100 * best.mean:.1f}"
    assert "CROMA" not in {line[0].text for line in found.compared.cells}
    assert dict(found.best)[3].mean == pytest.approx(
        next(r.mean for r in results if r.system == "CROMA" and r.shots == 3)
    )
    assert "2 repeats" in found.unit and "2 tasks" in found.unit


def test_one_repeat_has_no_interval():
    results = [Result(name, 1, ((0.5, 0.7),), {}) for name in ("a", "b")]
    found = accuracy(results, "a")
    assert found.figure.table.cells[0][1] == Cell("", "60.0")
    assert "nan" not in found.figure.svg.lower().replace("nano", "")
    assert "(p -; 50%)" in found.compared.lines[0][1]


def test_confusions_are_those_of_the_examples(strong):
    every = examples(strong, 1)
    classes, found = counts(every)
    for i, true in enumerate(classes):
        for j, said in enumerate(classes):
            expected = sum(e.true == true and e.predicted == said for e in every)
            assert found[i, j] == expected
    figure = confusion(every)
    wrong = [e for e in every if not e.right]
    assert sum(int(line[2]) for line in figure.table.lines) == len(wrong)
    assert f"{100 * (1 - len(wrong) / len(every)):.1f}% of" in figure.svg


def test_learning_curves_are_the_metrics(strong):
    metrics = read_metrics(strong)
    figure = curves(metrics, 2)
    assert [line[0] for line in figure.table.lines] == [str(m["iteration"]) for m in metrics]
    for line, row in zip(figure.table.lines, metrics, strict=True):
        assert line[1] == f"{100 * row['validation_accuracy']:.1f}"
    assert curves([], 0) is None
    of_another = [{k.replace("align", "confuse"): v for k, v in row.items()} for row in metrics]
    assert "confuse loss" in curves(of_another, 2).table.head


def test_the_map_draws_rows_of_the_classes_it_names(strong, weak):
    for run in (strong, weak):
        aligned = open_aligned(run)
        groups = groups_of(aligned)
        assert [g.unseen for g in groups] == sorted(g.unseen for g in groups)
        test = set(aligned.problem.test.target.classes)
        for group in groups:
            assert set(aligned.target.class_names(group.target)) == {group.name}
            assert (group.name in test) == group.unseen
            if run == weak and group.unseen:
                assert not len(group.source)
            else:
                assert set(aligned.source.class_names(group.source)) == {group.name}
        if run == strong:
            for g in groups:
                assert decode(aligned.source.ids[g.source]) == decode(aligned.target.ids[g.target])
        again = groups_of(aligned)
        assert all((a.target == b.target).all() for a, b in zip(groups, again, strict=True))


def test_the_cosines_of_the_map(strong):
    aligned = open_aligned(strong)
    groups = groups_of(aligned)
    lines = space_map(aligned).table.lines
    s, t = (
        [aligned.embed(side, getattr(g, side)).numpy() for g in groups]
        for side in ("source", "target")
    )
    own = np.mean([a @ b for a in s[0] for b in t[0]])
    within = np.mean([a @ b for i, a in enumerate(t[0]) for j, b in enumerate(t[0]) if i != j])
    others = np.concatenate([t[j] for j in range(1, 6) if not groups[j].unseen])
    away = np.mean([a @ b for a in s[0] for b in others])
    assert lines[0][4] == f"{own:.2f}" and lines[0][6] == f"{within:.2f}"
    assert lines[0][5] == f"{away:.2f}"


@pytest.mark.parametrize("n", [2, 3, 11, 12, 40])
def test_any_number_of_points_can_be_drawn(n):
    z = np.random.default_rng(0).normal(size=(n, 8)).astype("f4")
    assert flatten(z, 2**40).shape == (n, 2)
    np.testing.assert_array_equal(flatten(z, 1), flatten(z, 1))


def test_examples_of_retrieval(strong, weak):
    for run in (strong, weak):
        aligned = open_aligned(run)
        source, target = items_of(aligned)
        asked = []

        def show(side, name, asked=asked):
            asked.append((side, name))
            return Shown("text", name)

        for d, (queries, gallery) in zip(
            directions(aligned, source, target, show), ((source, target), (target, source)),
            strict=True,
        ):  # fmt: skip
            ids = decode(getattr(aligned, queries.side).ids[queries.rows])
            theirs = decode(getattr(aligned, gallery.side).ids[gallery.rows])
            kinds = [s.query.label for s in d.searches]
            assert len(set(kinds)) == len(kinds) <= 4
            for s in d.searches:
                i = ids.index(s.query.id)
                cosines = (gallery.z @ queries.z[i]).numpy()
                best = np.sort(cosines)[::-1][:5]
                for item, cosine in zip(s.found, best, strict=True):
                    assert item.note.startswith(f"cosine {cosine:.2f}")
                    j = theirs.index(item.id)
                    assert cosines[j] == pytest.approx(cosine, abs=1e-6)
                    same = any(queries.keys[k][i] == gallery.keys[k][j] for k in queries.keys)
                    assert item.good == same and item.shown.content == item.id
                    assert (item.label == s.query.label) == same
                    assert ("another" in item.note) != same
        assert {side for side, _ in asked} == {"source", "target"}


def test_settings_that_are_no_default_stand_out(strong):
    from xmg.engine.run import load_config

    lines = {line[0].text: line[1] for line in settings_table(load_config(strong)).cells}
    assert lines["iterations"] == Cell("", "4") and lines["tau"] == Cell("0.2")
    assert lines["source"] == Cell("source.h5")  # no folder
    assert lines["shots"] == Cell("", "1, 3")
