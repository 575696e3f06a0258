import errno
import json
import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import synthetic
import torch
from safetensors import safe_open

from xmg.cache import XmgError
from xmg.engine import train
from xmg.engine.inner.choose import SOLVERS
from xmg.engine.meta_test import check_one_table, check_poolable, evaluate_run
from xmg.engine.run import CONFIG, METRICS, load_config, load_state, read_metrics
from xmg.engine.train import meta_train
from xmg.engine.training import advance

BEST, LAST = "best.safetensors", "last.safetensors"


class Interruption(Exception):  # noqa: N818 - it is no error
    pass


@pytest.fixture
def files(tmp_path):
    return synthetic.write_pair(tmp_path, n_classes=10, per_class=12, latent=4, dim=6)


@pytest.fixture
def config(files):
    return config_of(files)


def config_of(files, **settings):
    small = {"iterations": 11, "validate_every": 3, "inner_steps": 2, "k_pairs": 1, "width": 8}
    return synthetic.config_of(*files, **{**small, **settings})


def interrupt_at(iteration):
    def progress(done, _total, _best):
        if done == iteration:
            raise Interruption

    return progress


def metrics(run):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_metrics(run)]


def same_run(one, two):
    checkpoints = all((one / n).read_bytes() == (two / n).read_bytes() for n in (BEST, LAST))
    return checkpoints and metrics(one) == metrics(two)


@pytest.mark.parametrize("stops", [[1], [3], [4, 5], [8, 8, 10], [11]])
def test_resume_is_bit_identical(tmp_path, config, stops):
    meta_train(config, tmp_path / "whole")
    for stop in stops:
        with pytest.raises(Interruption):
            meta_train(config, tmp_path / "parts", interrupt_at(stop))
    meta_train(config, tmp_path / "parts")
    assert same_run(tmp_path / "whole", tmp_path / "parts")


SETTINGS = [
    {"meta_optimizer": "momentum", "meta_schedule": "cosine", "meta_batch": 3, "meta_step": 0.2},
    {"meta_optimizer": "adam", "meta_schedule": "linear", "meta_step": 0.01},
    {"meta_gradient": "fomaml", "negatives": "step", "n_sets": 2, "meta_step": 0.1},
    {"hard": True, "n_candidates": 20, "n_negatives": 4, "n_sets": 2},
    {"optimizer": "sgd", "align_rate": 0.1, "batch": 2, "n_sets": 2, "solver": "direct"},
    {"head": "mlp", "hidden": 12, "bias": True},
    {"head": "residual", "rank": 2, "solver": "batched", "meta_batch": 2},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_every_kind_of_run_resumes_bit_identically(tmp_path, files, settings):
    config = config_of(files, **settings)
    meta_train(config, tmp_path / "whole")
    with pytest.raises(Interruption):
        meta_train(config, tmp_path / "parts", interrupt_at(5))
    meta_train(config, tmp_path / "parts")
    assert same_run(tmp_path / "whole", tmp_path / "parts")
    assert evaluate_run(tmp_path / "whole")


@pytest.mark.parametrize("n_threads", [1, 2])
def test_threads_do_not_change_a_run(tmp_path, files, set_torch_threads, n_threads):
    config = config_of(files, meta_batch=3)
    meta_train(config, tmp_path / "one")
    set_torch_threads(n_threads)
    meta_train(config, tmp_path / "two")
    assert torch.get_num_threads() == n_threads
    states = [load_state(tmp_path / run / LAST) for run in ("one", "two")]
    for name, value in states[0].theta.items():
        assert torch.equal(value, states[1].theta[name])


def test_threads_do_not_change_a_start(tmp_path, set_torch_threads):
    """Of more directions than sets, whose fits threads would share."""
    files = synthetic.write_pair(tmp_path, n_classes=10, per_class=50, latent=300, dim=300)
    config = config_of(files, iterations=1)
    for n_threads in (1, 2):
        set_torch_threads(n_threads)
        meta_train(config, tmp_path / str(n_threads))
    assert (tmp_path / "1" / LAST).read_bytes() == (tmp_path / "2" / LAST).read_bytes()


def test_a_batch_of_tasks_is_of_their_own_numbers(tmp_path, files):
    """Two tasks an update are not one task twice."""
    for n in (1, 2):
        meta_train(config_of(files, meta_batch=n), tmp_path / f"{n}")
    one, two = (load_state(tmp_path / f"{n}" / LAST).theta["source"] for n in (1, 2))
    assert not torch.allclose(one, two)


@pytest.mark.parametrize(
    ("settings", "solvers"),
    [
        ({}, {"align": "direct", "classify": "direct"}),
        ({"optimizer": "sgd", "solver": "span"}, {"align": "span", "classify": "span"}),
        ({"solver": "batched"}, {"align": "batched", "classify": "batched"}),
    ],
)
def test_a_run_says_which_solver_took_its_steps(tmp_path, files, settings, solvers):
    meta_train(config_of(files, **settings), tmp_path / "run")
    assert read_metrics(tmp_path / "run")[-1]["solvers"] == solvers


def test_the_solver_is_that_of_the_hard_negatives(tmp_path, monkeypatch):
    """3 pairs with 16 candidates are few rows for 199 inputs, and with 48 negatives many."""
    used = []
    for name in ("span", "direct"):
        real = SOLVERS[name]
        monkeypatch.setitem(SOLVERS, name, lambda *a, n=name, f=real: used.append(n) or f(*a))
    files = synthetic.write_pair(tmp_path, n_classes=10, per_class=50, latent=200, dim=200)
    config = config_of(
        files, iterations=1, optimizer="sgd", hard=True, n_sets=3, n_candidates=16,
        front_shrinkage=0.1, start="identity",
    )  # fmt: skip
    meta_train(config, tmp_path / "run")
    said = read_metrics(tmp_path / "run")[-1]["solvers"]
    assert [said["align"], said["classify"]] == used[:2] == ["direct", "span"]


@pytest.mark.parametrize("solver", ["direct", "batched"])
def test_solvers_lead_to_the_same_run(tmp_path, files, solver):
    one = meta_train(config_of(files, solver="reference"), tmp_path / "one")
    two = meta_train(config_of(files, solver=solver), tmp_path / "two")
    for name, value in one.theta.items():
        torch.testing.assert_close(two.theta[name], value, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"negatives": "step", "n_sets": 4}, "takes all 4 sets.*none is left.*set n_sets to 2"),
        ({"hard": True, "n_sets": 99}, "takes all 4 sets.*n_sets = 99"),
        ({"batch": 3, "n_sets": 2}, "a step of 3 pairs cannot hold 2 sets alike"),
        ({"device": "cuda"}, "no CUDA device"),
    ],
)
def test_impossible_episodes_are_refused_before_training(tmp_path, files, settings, message):
    if torch.cuda.is_available() and "device" in settings:
        pytest.skip("there is one")
    with pytest.raises(XmgError, match=message):
        meta_train(config_of(files, **settings), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"solver": "span"}, "span solver is exact for optimizer = 'sgd'"),
        ({"hard": True, "negatives": "step"}, "hard negatives are each pair's own"),
        ({"hard": True, "n_candidates": 8}, "n_candidates must be at least n_negatives = 16"),
        ({"device": "cuda", "solver": "direct"}, "runs on the CPU only"),
    ],
)
def test_settings_that_contradict_each_other(files, settings, message):
    with pytest.raises(XmgError, match=message):
        config_of(files, **settings)


def test_a_crash_between_the_files_of_one_validation(tmp_path, config):
    """A metrics line that is ahead of the checkpoint, and cut short, is forgotten."""
    meta_train(config, tmp_path / "whole")
    with pytest.raises(Interruption):
        meta_train(config, tmp_path / "parts", interrupt_at(7))
    with (tmp_path / "parts" / "metrics.jsonl").open("a") as file:
        file.write('{"iteration": 9, "align_loss": 0}\n{"iteration": 11, "ali')
    meta_train(config, tmp_path / "parts")
    assert same_run(tmp_path / "whole", tmp_path / "parts")


def test_the_seed_decides(tmp_path, files):
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        meta_train(config_of(files, seed=seed), tmp_path / name)
    assert same_run(tmp_path / "one", tmp_path / "same")
    assert not same_run(tmp_path / "one", tmp_path / "other")
    assert (
        metrics(tmp_path / "one")[1]["align_loss"] != metrics(tmp_path / "other")[1]["align_loss"]
    )


def test_a_finished_run_is_left_as_it_is(tmp_path, config):
    run = tmp_path / "run"
    first = meta_train(config, run)
    before = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in (run / BEST, run / LAST)}
    lines = (run / "metrics.jsonl").read_bytes()
    again = meta_train(config, run, interrupt_at(1))
    assert {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in (run / BEST, run / LAST)} == (
        before
    )
    assert (run / "metrics.jsonl").read_bytes() == lines
    assert again.best_iteration == first.best_iteration


def test_metrics_and_the_best_checkpoint(tmp_path, files):
    run = tmp_path / "run"
    returned = meta_train(config_of(files, align_rate=0.05, iterations=14), run)
    rows = read_metrics(run)
    assert [row["iteration"] for row in rows] == [0, 3, 6, 9, 12, 14]
    assert set(rows[0]) == {"iteration", "validation_accuracy"}  # the start
    both = {"align_loss", "classify_loss", "seconds", "solvers"}
    assert all(set(row) == set(rows[0]) | both for row in rows[1:])
    accuracy = [row["validation_accuracy"] for row in rows]
    best, last = load_state(run / BEST), load_state(run / LAST)
    assert best.best_accuracy == max(accuracy) == returned.best_accuracy
    assert best.best_iteration == best.iteration == rows[int(np.argmax(accuracy))]["iteration"]
    assert last.iteration == 14 and last.best_iteration == best.iteration


def test_progress(tmp_path, config):
    seen = []
    meta_train(config, tmp_path / "run", lambda *row: seen.append(row))
    assert [row[:2] for row in seen] == [(i, 11) for i in range(1, 12)]
    assert [row[2] for row in seen] == sorted(row[2] for row in seen)


def test_a_run_folder_is_one_runs(tmp_path, files, config):
    meta_train(config, tmp_path / "run")
    with pytest.raises(XmgError, match=r"run holds a run with seed = 0, not 5.*\nfix"):
        meta_train(config_of(files, seed=5), tmp_path / "run")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    with pytest.raises(XmgError, match="notes exists and is no run folder"):
        meta_train(config, tmp_path / "notes")
    assert [p.name for p in (tmp_path / "notes").iterdir()] == ["a.txt"]


def interfering(run, config):
    """Another process that comes in the middle of a run is sent away, and has changed nothing."""

    def progress(done, _total, _best):
        if done == 4:
            before = (run / "metrics.jsonl").read_bytes()
            with pytest.raises(XmgError, match=r"(?s)run is being written by process \d+ .*fix: "):
                meta_train(config, run)
            assert (run / "metrics.jsonl").read_bytes() == before

    return progress


def test_two_runs_in_one_folder_are_told_so(tmp_path, config):
    run = tmp_path / "run"
    meta_train(config, run, interfering(run, config))
    assert [row["iteration"] for row in read_metrics(run)] == [0, 3, 6, 9, 11]
    meta_train(config, run)


def test_a_run_that_another_process_has_made_meanwhile_is_left_as_it_is(
    tmp_path, config, monkeypatch
):
    run, begin = tmp_path / "run", train._begin

    def slow(*parts):
        monkeypatch.setattr(train, "_begin", begin)
        meta_train(config, run)
        return begin(*parts)

    monkeypatch.setattr(train, "_begin", slow)
    meta_train(config, run)
    assert [row["iteration"] for row in read_metrics(run)] == [0, 3, 6, 9, 11]


def test_what_a_killed_process_leaves_stops_nothing(tmp_path, config):
    """Its lock names it still, and a draft is cut short."""
    run = tmp_path / "run"
    run.mkdir()
    (run / ".lock").write_text(json.dumps({"process": 2**22 + 1, "host": "x", "since": 0}))
    (run / "config.json.draft").write_text("{")
    with pytest.raises(Interruption):
        meta_train(config, run, interrupt_at(4))
    (run / f"{LAST}.draft").write_bytes(b"cut")
    meta_train(config, run)
    assert not list(run.glob("*.draft")) and load_state(run / LAST).iteration == 11


def test_nothing_is_left_where_the_data_cannot_serve(tmp_path, files):
    with pytest.raises(XmgError):
        meta_train(config_of(files, n_way=5), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_config_comes_back_whole(tmp_path, config):
    meta_train(config, tmp_path / "run")
    assert load_config(tmp_path / "run") == config
    with pytest.raises(XmgError, match="is not a run folder"):
        load_config(tmp_path)
    (tmp_path / "run" / "config.json").write_text("{}")
    with pytest.raises(XmgError, match=r"config\.json is damaged"):
        load_config(tmp_path / "run")


@pytest.mark.parametrize("name", [BEST, LAST])
def test_a_damaged_checkpoint(tmp_path, config, name):
    run = tmp_path / "run"
    meta_train(config, run)
    whole = (run / name).read_bytes()
    for content in (b"", whole[:100], whole[:-50], b"\xff" * len(whole)):
        (run / name).write_bytes(content)
        with pytest.raises(XmgError, match=f"{name} is not a checkpoint of xmg"):
            meta_train(config, run)


@pytest.mark.parametrize(("closed", "asked"), [(BEST, BEST), (LAST, LAST), (LAST, BEST)])
def test_a_checkpoint_that_may_not_be_read_is_not_to_be_removed(
    tmp_path, config, monkeypatch, closed, asked
):
    """Root may read everything, so the refusal is the test's own."""
    run, real = tmp_path / "run", Path.open
    meta_train(config, run)

    def opened(path, *how, **more):
        if path == run / closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path, *how, **more)

    if asked != closed:
        (run / asked).unlink()
    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(XmgError, match=f"cannot read .*{closed}: Permission denied") as error:
        load_state(run / asked)
    assert "rm " not in str(error.value)


def test_metrics_that_may_not_be_read_are_not_to_be_removed(tmp_path, config, monkeypatch):
    meta_train(config, tmp_path / "run")

    def refused(path, **how):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "read_text", refused)
    with pytest.raises(PermissionError):
        read_metrics(tmp_path / "run")


def obey(error):
    """Remove what a message says to remove."""
    found = re.search(r"fix: (?:rm (.*?), then )?repeat the xmg meta-train", str(error.value))
    for name in shlex.split(found[1] or ""):
        Path(name).unlink()


@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize("name", [BEST, LAST])
@pytest.mark.parametrize(("seed", "best"), [(4, 11), (1, 3)])
def test_a_checkpoint_that_is_gone_comes_back(tmp_path, files, seed, best, name, cut):
    """From the other one where that can be; what the message says leads to the same run."""
    config, run, whole = (
        config_of(files, align_rate=3e-3, seed=seed),
        tmp_path / "r",
        tmp_path / "w",
    )
    assert meta_train(config, run).iteration == best
    shutil.copytree(run, whole)
    (run / name).write_bytes((run / name).read_bytes()[:-50]) if cut else (run / name).unlink()
    with pytest.raises(XmgError, match=rf"(?s){name}.*fix: ") as error:
        load_state(run / name)
    assert ("trains again" in str(error.value)) == (name == BEST and best < 11)
    obey(error)
    meta_train(config, run)
    assert same_run(run, whole)


def test_without_metrics_a_finished_run_stays(tmp_path, config):
    run = tmp_path / "run"
    meta_train(config, run)
    (run / METRICS).write_text("}\n")
    with pytest.raises(XmgError, match=r"fix: rm .*metrics\.jsonl"):
        meta_train(config, run)
    (run / METRICS).unlink()
    assert meta_train(config, run, interrupt_at(1)).iteration == load_state(run / BEST).iteration


def test_a_link_to_itself_is_no_run_folder(tmp_path, config):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(XmgError, match="loop exists and is no run folder"):
        meta_train(config, loop)
    check = (lambda: check_poolable([loop]), lambda: evaluate_run(loop))
    for one in check:
        with pytest.raises(XmgError, match="loop is not a run folder"):
            one()


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"system": "align-classify"}, "differ in system, croma and align-classify"),
        ({"n_repeats": 9}, r"differ in n_repeats, 2 and 9.*fix: evaluate them one by one"),
        ({"shots": (1, 5)}, r"differ in shots, \[1, 3\] and \[1, 5\].*fix: name --shots"),
    ],
)
def test_runs_that_one_table_cannot_pool_are_refused_before_any_is_evaluated(
    tmp_path, files, other, said
):
    runs = [tmp_path / name for name in "abc"]
    for run, settings in zip(runs, ({}, {"shots": (3, 1), "seed": 1}, other), strict=True):
        run.mkdir()
        (run / CONFIG).write_text(config_of(files, **settings).model_dump_json())
    check_one_table(runs[:2], None)
    with pytest.raises(XmgError, match=said):
        check_one_table(runs, None)
    if "shots" in other:
        check_one_table(runs, (1,))


def test_where_training_only_hurts_the_start_is_the_best(tmp_path, files):
    run = tmp_path / "run"
    state = meta_train(config_of(files, align_rate=1e-30, classify_rate=1e-30), run)
    assert state.best_iteration == state.iteration == 0
    assert len({row["validation_accuracy"] for row in read_metrics(run)}) == 1


def test_checkpoints_are_plain_safetensors(tmp_path, config):
    meta_train(config, tmp_path / "run")
    with safe_open(tmp_path / "run" / BEST, "np") as file:
        assert {"source", "target", "phi"} < set(file.keys())


def test_edited_episodes(tmp_path, config):
    meta_train(config, tmp_path / "run")
    path = tmp_path / "run" / "episodes.json"
    manifest = json.loads(path.read_text())
    manifest["test"]["1"]["support"][0][0][0] += 1
    path.write_text(json.dumps(manifest))
    with pytest.raises(XmgError, match=r"episodes\.json was edited"):
        evaluate_run(tmp_path / "run")
    path.write_text("{")
    with pytest.raises(XmgError, match=r"episodes\.json cannot be read"):
        evaluate_run(tmp_path / "run")


def relabelled(files, side):
    """Write one side again without its last sample: the fingerprint changes."""
    file = files[side]
    x, labels = file.features.copy()[:-1], synthetic.names(10, 12)[:-1]
    synthetic.write(file.path, x, labels)


@pytest.mark.parametrize("side", [0, 1])
def test_changed_features(tmp_path, files, config, side):
    meta_train(config, tmp_path / "run")
    relabelled(files, side)
    with pytest.raises(XmgError, match=rf"{files[side].path.name} has changed since"):
        evaluate_run(tmp_path / "run")


@pytest.mark.parametrize("side", [0, 1])
def test_changed_features_stop_a_resume(tmp_path, files, config, side):
    with pytest.raises(Interruption):
        meta_train(config, tmp_path / "run", interrupt_at(4))
    relabelled(files, side)
    with pytest.raises(XmgError, match=rf"{files[side].path.name} has changed since"):
        meta_train(config, tmp_path / "run")


@pytest.mark.parametrize("wrong", ["align_loss", "classify_loss", "source", "target", "phi"])
def test_divergence_stops_the_run_and_keeps_the_last_good_state(
    tmp_path, config, monkeypatch, wrong
):
    """Whatever goes wrong first; unit rows and Adam keep real runs from it at any sane rate."""
    iterations = iter(range(1, 99))

    def iteration(theta, *_):
        losses = {"align_loss": 1.0, "classify_loss": 1.0}
        if next(iterations) == 5:
            where = losses if wrong in losses else theta
            where[wrong] = where[wrong] * float("nan")
        return [losses]

    monkeypatch.setattr(advance, "meta_iteration", iteration)
    run = tmp_path / "run"
    with pytest.raises(
        XmgError, match=rf"diverged at meta-iteration 5: {wrong} became.*align_rate 0\.0003"
    ):
        meta_train(config, run)
    assert load_state(run / LAST).iteration == 3
    assert [row["iteration"] for row in read_metrics(run)] == [0, 3]
    assert evaluate_run(run)
