"""Curves read back as TensorBoard reads them."""

import json
import sys

import pytest
import synthetic

from xmg.cache import XmgError
from xmg.engine.run import METRICS, read_metrics
from xmg.engine.train import meta_train
from xmg.engine.training.curves import FOLDER, curves, numbers

accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


class Interruption(Exception):  # noqa: N818 - it is no error
    pass


@pytest.fixture
def config(tmp_path):
    files = synthetic.write_pair(tmp_path, n_classes=10, per_class=12, latent=4, dim=6)
    small = {"iterations": 11, "validate_every": 3, "inner_steps": 2, "k_pairs": 1, "width": 8}
    return synthetic.config_of(*files, **small)


def train(config, run, stop=None):
    with curves(run) as follow:

        def progress(done, _total, _best):
            follow()
            if done == stop:
                raise Interruption

        meta_train(config, run, progress)


def drawn(run):
    """{name: [(step, value)]} of all curves."""
    found = accumulators.EventAccumulator(str(run / FOLDER), size_guidance={"scalars": 0})
    found.Reload()
    return {
        tag: [(event.step, event.value) for event in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }


def as_metrics_say(run):
    wanted = {}
    for row in read_metrics(run):
        for name, value in numbers(row):
            wanted.setdefault(name, []).append((row["iteration"], value))
    return wanted


def same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, points in wanted.items():
        assert [step for step, _ in found[name]] == [step for step, _ in points], name
        values = [value for _, value in points]  # drawn in single precision
        assert [value for _, value in found[name]] == pytest.approx(values, rel=1e-6)


def test_every_metric_is_drawn(config, tmp_path):
    run = tmp_path / "run"
    train(config, run)
    found = drawn(run)
    same(found, as_metrics_say(run))
    assert [step for step, _ in found["validation_accuracy"]] == [0, 3, 6, 9, 11]
    assert {"align_loss", "classify_loss", "seconds"} < found.keys()


@pytest.mark.parametrize("stops", [[1], [4, 5], [3, 8, 10], [11]])
def test_a_resumed_run_goes_on_without_doubled_points(config, tmp_path, stops):
    run = tmp_path / "run"
    for stop in stops:
        with pytest.raises(Interruption):
            train(config, run, stop)
    train(config, run)
    same(drawn(run), as_metrics_say(run))
    before = sorted((run / FOLDER).iterdir())
    train(config, run)  # finished
    assert sorted((run / FOLDER).iterdir()) == before


def test_what_a_crash_undid_is_no_longer_drawn(tmp_path):
    run = tmp_path / "run"
    run.mkdir()

    def write(*steps, value=0.5):
        rows = [{"iteration": i, "validation_accuracy": value, "loss": i / 10} for i in steps]
        (run / METRICS).write_text("".join(json.dumps(row) + "\n" for row in rows))

    write(0, 3, 6, 9)
    with curves(run) as follow:
        follow()
    write(0, 3)  # as training does that goes on from its checkpoint
    with curves(run) as follow:
        follow()
        assert [step for step, _ in drawn(run)["loss"]] == [0, 3]
        write(0, 3, 7)
        follow()
        follow()
    same(drawn(run), as_metrics_say(run))


def test_rows_that_an_earlier_process_did_not_draw_are_drawn(config, tmp_path):
    run = tmp_path / "run"

    def interrupt(done, _total, _best):
        if done == 7:
            raise Interruption

    with pytest.raises(Interruption):
        meta_train(config, run, interrupt)
    train(config, run)
    same(drawn(run), as_metrics_say(run))


def test_nothing_is_left_where_nothing_was_trained(tmp_path):
    with curves(tmp_path / "run") as follow:
        follow()
    assert not (tmp_path / "run").exists()


def test_numbers_of_a_row():
    row = {"iteration": 3, "loss": 1, "solvers": {"align": "span"}, "a": {"b": 0.5}, "ok": True}
    assert dict(numbers(row)) == {"loss": 1.0, "a/b": 0.5}


@pytest.mark.parametrize("absent", ["tensorboard", "torch.utils.tensorboard"])
def test_without_tensorboard_nothing_begins(monkeypatch, tmp_path, absent):
    for name in [absent, *(name for name in sys.modules if name.startswith(f"{absent}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(XmgError, match=r"pip install 'xmg\[tensorboard\]'"), curves(tmp_path / "r"):
        pytest.fail("it began")
    assert not (tmp_path / "r").exists()
