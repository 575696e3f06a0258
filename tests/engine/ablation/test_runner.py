"""Cells: computed once, resumed, failed alone, the same for any number of processes."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import synthetic
from threadpoolctl import threadpool_info

from xmg.cache import XmgError
from xmg.cache.writing.lock import locked
from xmg.engine.ablation import cells as cells_module
from xmg.engine.ablation.cells import FAILURE, RESULT, compute, identities_of
from xmg.engine.ablation.report import report
from xmg.engine.ablation.results import arrays, read
from xmg.engine.ablation.runner import run_cells
from xmg.engine.ablation.spec import cells_of, read_spec

SPEC = """
source = "source.h5"
target = "target.h5"
systems = ["class-mean", "cca", "croma"]
shots = [1, 3]
seeds = 2
[settings]
n_way = 3
n_query = 4
n_tasks = 2
n_repeats = 2
n_validation = 4
width = 8
iterations = 4
validate_every = 2
k_pairs = 1
"""


@pytest.fixture
def spec(tmp_path):
    synthetic.write_pair(tmp_path, n_classes=12, per_class=12, latent=4, dim=6)

    def made(text=SPEC):
        (tmp_path / "spec.toml").write_text(text)
        return read_spec(tmp_path / "spec.toml")

    return made


@pytest.fixture(scope="module")
def finished_once(tmp_path_factory):
    """A finished ablation by one process; processes take seconds to begin."""
    folder = tmp_path_factory.mktemp("finished")
    synthetic.write_pair(folder, n_classes=12, per_class=12, latent=4, dim=6)
    (folder / "spec.toml").write_text(SPEC)
    cells = cells_of(read_spec(folder / "spec.toml"))
    run_cells(cells, folder / "out")
    return folder


@pytest.fixture
def finished(finished_once, tmp_path):
    """A copy: its spec, cells, and folders of results."""
    shutil.copytree(finished_once, tmp_path, dirs_exist_ok=True)
    spec = read_spec(tmp_path / "spec.toml")
    cells = cells_of(spec)
    identities = identities_of(cells)
    return spec, cells, [cell.folder(tmp_path / "out", identities) for cell in cells]


def answers(folders):
    return [json.loads((folder / RESULT).read_text())["shots"] for folder in folders]


def test_results_are_the_same_for_any_number_of_processes(finished, tmp_path):
    _, cells, folders = finished
    assert answers(run_cells(cells, tmp_path / "two", 2)) == answers(folders)


def test_what_is_finished_is_not_computed_again(finished, tmp_path):
    """A folder that was moved is the same ablation: cells are named by what files hold."""
    _, cells, folders = finished
    before = [(f / RESULT).stat().st_mtime_ns for f in folders]
    seen = []
    assert run_cells(cells, tmp_path / "out", 1, lambda *now: seen.append(now)) == folders
    assert [(f / RESULT).stat().st_mtime_ns for f in folders] == before
    assert seen == [(6, 6, "")]


def test_a_removed_result_alone_is_computed_again(finished, tmp_path):
    _, cells, folders = finished
    expected = answers(folders)
    (folders[2] / RESULT).unlink()
    others = [f for f in folders if f != folders[2]]
    stamps = [(f / RESULT).stat().st_mtime_ns for f in others]
    run_cells(cells, tmp_path / "out")
    assert answers(folders) == expected
    assert stamps == [(f / RESULT).stat().st_mtime_ns for f in others]


def test_other_features_are_other_cells(spec, tmp_path):
    cells = cells_of(spec())
    before = {cell.folder(tmp_path, identities_of(cells)) for cell in cells}
    (tmp_path / "target.h5").unlink()
    (tmp_path / "source.h5").unlink()
    synthetic.write_pair(tmp_path, n_classes=12, per_class=12, latent=4, dim=6, seed=9)
    after = {cell.folder(tmp_path, identities_of(cells)) for cell in cells}
    assert not before & after


def test_one_cell_that_fails_is_marked_and_the_others_go_on(spec, tmp_path):
    """The share of labels leaves too few rows for the oracle's tasks."""
    text = SPEC.replace('"cca", "croma"]', '"croma", "oracle"]').replace("seeds = 2", "seeds = 1")
    found = spec(text + "label_share = 0.01\n")
    cells = cells_of(found)
    folders = run_cells(cells, tmp_path / "out")
    finished = read(cells, folders)
    failed = {one.cell.system for one in finished if one.failure}
    assert failed == {"oracle"}
    assert all("fix: " in (one.failure or "fix: ") for one in finished)
    report(tmp_path / "out", "t", finished, found)
    text = (tmp_path / "out" / "tables.md").read_text()
    assert "## Cells without a result" in text and "| CROMA |" in text and "\n1 seed.\n" in text
    assert text.count("oracle: target labels") == 1  # in the list of failures alone


def test_two_runs_into_one_folder_are_told_so(finished, tmp_path):
    _, cells, _ = finished
    out = tmp_path / "out"
    message = r"(?s)being written by process \d+ .*fix: "
    with locked(out / ".lock", out), pytest.raises(XmgError, match=message):
        run_cells(cells, out)
    run_cells(cells, tmp_path / "out")


def test_a_failed_cell_is_tried_again(spec, tmp_path, monkeypatch):
    cell = cells_of(spec())[0]
    folder = tmp_path / "cell"

    def broken(*_):
        raise ValueError("no luck")

    with monkeypatch.context() as patch:
        patch.setattr(cells_module, "_result", broken)
        compute(cell, folder, tmp_path / "episodes")
    assert (folder / FAILURE).read_text() == "ValueError: no luck"
    assert not (folder / RESULT).exists()
    compute(cell, folder, tmp_path / "episodes")
    assert not (folder / FAILURE).exists() and (folder / RESULT).exists()


def killed(cell, folder, episodes):
    if cell.system == "cca" and cell.seed == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    compute(cell, folder, episodes)


def threads_noted(cell, folder, episodes):
    folder.mkdir(parents=True)
    (folder / RESULT).write_text(json.dumps([pool["num_threads"] for pool in threadpool_info()]))


def test_a_process_of_the_pool_has_one_thread(spec, tmp_path, monkeypatch):
    monkeypatch.setattr("xmg.engine.ablation.runner.compute", threads_noted)
    (folder,) = run_cells(cells_of(spec())[:1], tmp_path / "out")
    assert set(json.loads((folder / RESULT).read_text())) == {1}


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_process_that_dies_costs_one_cell(spec, tmp_path, monkeypatch, n_jobs):
    """Of two at work, the one that did not die is computed again."""
    monkeypatch.setattr("xmg.engine.ablation.runner.compute", killed)
    cells = cells_of(spec(SPEC.replace('"class-mean", ', "").replace("seeds = 2", "seeds = 1")))
    ended = []
    folders = run_cells(cells, tmp_path / "out", n_jobs, lambda *now: ended.append(now))
    assert sorted(now[0] for now in ended) == [0, 1, 2]
    found = read(cells, folders)
    assert [(one.cell.system, one.cell.seed) for one in found if one.failure] == [("cca", 0)]
    assert "died" in next(one.failure for one in found if one.failure)


def endless(cell, folder, episodes):
    folder.mkdir(parents=True)
    (folder / "at_work").write_text(str(os.getpid()))
    time.sleep(600)


FOREVER = """
import signal
from pathlib import Path
import test_runner
from xmg.engine.ablation import runner
from xmg.engine.ablation.spec import cells_of, read_spec
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    runner.compute = test_runner.endless
    runner.run_cells(cells_of(read_spec(Path("spec.toml")))[:2], Path("out"), 2)
"""


def _lives(process):
    """A process that nobody waits for may stay, but only in name."""
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def _begun(tmp_path, script, **options):
    """A program in tmp_path, and its two processes once both are at work."""
    (tmp_path / "forever.py").write_text(script)
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    first = subprocess.Popen(
        [sys.executable, "forever.py"], cwd=tmp_path, start_new_session=True,
        env={**os.environ, "PYTHONPATH": paths}, **options,
    )  # fmt: skip
    others = []
    while len(others) < 2:
        assert first.poll() is None
        time.sleep(0.1)
        noted = (path.read_text() for path in tmp_path.glob("out/cells/*/at_work"))
        others = list(filter(None, noted))
    return first, others


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc who lives")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nobody_works_on_when_the_first_process_is_stopped(spec, tmp_path, how):
    """A signal to it alone; the others would hold the cells that the next run wants."""
    spec()
    first, others = _begun(tmp_path, FOREVER, stderr=subprocess.DEVNULL)
    try:
        first.send_signal(how)
        first.wait(30)
        for _ in range(300):
            if not any(map(_lives, others)):
                break
            time.sleep(0.1)
        assert not any(map(_lives, others))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(first.pid, signal.SIGKILL)


def test_the_command_leaves_nothing_to_clean_up_when_it_is_told_to_end(spec, tmp_path):
    spec()
    command = 'ablate("spec.toml", Path("out"), jobs=2)'
    script = FOREVER[: FOREVER.index("    runner.run_cells")] + f"    {command}\n"
    script = script.replace("import signal\n", "import signal\nfrom xmg.cli.ablate import ablate\n")
    first, _ = _begun(tmp_path, script, stderr=subprocess.PIPE, text=True)
    try:
        first.send_signal(signal.SIGTERM)
        _, err = first.communicate(timeout=30)
        assert first.returncode == 128 + signal.SIGTERM and "semaphore" not in err, err
    finally:
        with suppress(ProcessLookupError):
            os.killpg(first.pid, signal.SIGKILL)


def test_rows_met_the_same_episodes_or_are_not_compared(finished, tmp_path):
    _, cells, folders = finished
    assert len(list((tmp_path / "out" / "episodes").iterdir())) == 2  # one manifest for each seed
    result = json.loads((folders[0] / RESULT).read_text())
    (folders[0] / RESULT).write_text(json.dumps({**result, "episodes": "0" * 64}))
    with pytest.raises(XmgError, match="met other episodes"):
        read(cells, folders)


def test_the_tidy_file_and_the_tables_say_what_the_cells_say(finished, tmp_path):
    found, cells, folders = finished
    done = read(cells, folders)
    written = report(tmp_path / "out", "title", done, found)
    assert [path.name for path in written] == [
        "results.csv", "tables.md", "accuracy.svg", "accuracy.png",
    ]  # fmt: skip
    with written[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 * 2 * 2 * 2  # cells, shots, repeats, tasks
    mine = [float(r["accuracy"]) for r in rows if r["row"] == "CROMA" and r["shots"] == "3"]
    data = arrays(done, 3)["CROMA"]
    assert data.shape == (2, 4)
    np.testing.assert_allclose(sorted(mine), sorted(data.ravel()), atol=1e-6)
    text = written[1].read_text()
    assert f"{100 * data.mean(1).mean():.1f}" in text
    assert "| CROMA against | 1-shot | 3-shot |" in text
    assert "144" not in text and "0 (0)" in text  # class means read no target sample


def test_a_damaged_result_is_named(finished):
    _, cells, folders = finished
    (folders[1] / RESULT).write_text("")
    with pytest.raises(XmgError, match=r"result\.json is damaged .*fix: remove it"):
        read(cells, folders)
