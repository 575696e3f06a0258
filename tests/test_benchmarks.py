"""Every benchmark runs, at toy size; what it measures is for a quiet machine."""

import importlib.util
import shutil
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[1] / "benchmarks"
SECTIONS = ("gather", "cold", "copy", "scale", "write")


@pytest.fixture
def benchmark_of(monkeypatch):
    """Import a benchmark under a name that no package has."""
    monkeypatch.syspath_prepend(FOLDER)

    def load(name):
        spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.mark.parametrize("name", SECTIONS)
def test_cache(benchmark_of, tmp_path, capsys, name):
    if name == "write" and not shutil.which("dd"):
        pytest.skip("no dd")
    cache = benchmark_of("cache")
    assert tuple(cache.SECTIONS) == SECTIONS
    cache.SECTIONS[name](tmp_path, cache.TOY)
    assert "ratio" in capsys.readouterr().out


def test_what_a_figure_was_measured_on(benchmark_of):
    about = benchmark_of("machine").about()
    assert all(word in about for word in ("cores", "NumPy", "HDF5", "commit", "threads"))


def test_a_sparse_file_is_a_feature_file(benchmark_of, tmp_path):
    from xmg.cache import FeatureFile

    sparse = benchmark_of("sparse_file")
    sparse.make(tmp_path / "x.h5", 1000, 4, 3, 5)
    file = FeatureFile(tmp_path / "x.h5")
    assert len(file) == 1000 and file.features.shape == (1000, 4)
    assert file.rows_of(2).tolist() == [2, 202, 402, 602, 802]


def test_engine(benchmark_of):
    engine = benchmark_of("engine")
    table = engine.table(engine.contest.TOY, [5])
    assert [line.count("|") for line in table.splitlines()] == [4] * 12


def test_crossover(benchmark_of):
    engine = benchmark_of("engine")
    found = engine.crossover(engine.contest.TOY)
    assert [part for part, ratio in found if ratio > 0][:2] == [
        "1/12",
        "1/8",
    ]


def test_threads_and_share(benchmark_of, tmp_path):
    engine = benchmark_of("engine")
    assert all(rate > 0 for rate in engine.threads(engine.contest.TOY, "adam"))
    assert 0 < engine.share(tmp_path, iterations=3) <= 1


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_the_other_loops_take_the_same_steps(benchmark_of, tmp_path, kind):
    """Else the ratio would compare two different algorithms."""
    contest, loops = benchmark_of("contest"), benchmark_of("loops")
    config = contest.settings(kind).model_copy(update={"classify_rate": 0.01})
    data = contest.episodes(contest.TOY, 5)
    runs = [contest.ours(config), loops.plain(config)]
    if kind == "adam":
        runs += [loops.cloned(config), loops.loaded(config, tmp_path, data)]
    ends = [contest.theta_of(contest.TOY) for _ in runs]
    for run, theta in zip(runs, ends, strict=True):
        for episode in data:
            run(theta, episode)
    for theta in ends[1:]:
        for name, value in theta.items():
            torch.testing.assert_close(value, ends[0][name], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_extraction_and_the_plain_script_agree(benchmark_of, monkeypatch):
    data = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not (data / "weights" / "yamnet.safetensors").exists():
        pytest.skip(f"real data is absent: {data}")
    monkeypatch.setenv("XMG_WEIGHTS", str(data / "weights"))
    monkeypatch.setattr("xmg.extract.encoders.device.pick_compute", lambda device: "float32")
    extract = benchmark_of("extract")
    _, _, *lines = extract.speed(data / "caltech101", data / "esc50", extract.TOY)
    assert [line.split("|")[1].strip() for line in lines] == list(extract.ROWS)
    assert all(float(line.split("|")[-2]) < 1e-5 for line in lines)


def test_memory_of_extraction(benchmark_of):
    extract = benchmark_of("extract")
    first, *lines = extract.memory(extract.TOY)
    assert first.startswith("2,000 inputs") and len(lines) > 3


def test_figure_shows_the_table_of_its_page(benchmark_of, tmp_path):
    pytest.importorskip("matplotlib").use("Agg")
    figures = benchmark_of("figures")
    heads, rows = figures.table(figures.PAGE.read_text(encoding="utf-8"))
    assert heads == ["1-shot", "5-shot", "10-shot"]
    assert list(rows)[-1] == "CROMA"
    figures.draw(heads, rows, tmp_path / "figure.svg")
    figures.draw(heads, rows, tmp_path / "again.svg")
    assert (tmp_path / "figure.svg").read_bytes() == (tmp_path / "again.svg").read_bytes()
    for image in (tmp_path / "figure.svg", figures.IMAGE):  # the committed one is of these numbers
        text = image.read_text(encoding="utf-8")
        for name, values in rows.items():
            assert f">{name}<" in text
            for mean, _ in values:
                assert f">{mean:.0f}<" in text


def test_readme_shows_the_same_table(benchmark_of):
    pytest.importorskip("matplotlib").use("Agg")
    figures = benchmark_of("figures")
    readme = (FOLDER.parent / "README.md").read_text(encoding="utf-8").replace("*", "")
    for name, values in figures.table(figures.PAGE.read_text(encoding="utf-8"))[1].items():
        cells = " | ".join(f"{mean} ± {std}" for mean, std in values)
        assert f"| {name} | {cells} |" in readme
