"""Python of the pages does what it says, on data made here."""

import re
from pathlib import Path

import numpy as np
import pytest
import synthetic

from xmg.extract.encoders import load_encoder
from xmg.extract.pipeline import extract
from xmg.extract.sources import open_source

ROOT = Path(__file__).resolve().parents[1]
RATE = 16000


def sound(path, c, rng):
    """A tone of a class's own, of a loudness of its own, in noise."""
    sf = pytest.importorskip("soundfile")
    path.parent.mkdir(parents=True, exist_ok=True)
    t = np.arange(RATE // 2) / RATE
    tone = rng.uniform(0.2, 0.5) * np.sin(2 * np.pi * 150 * 1.25**c * t)
    sf.write(path, tone + 0.01 * rng.normal(size=len(t)), RATE)


@pytest.fixture
def sounds(tmp_path, monkeypatch):
    """A run on tones, in runs/sounds, and the folders of docs/predict.md."""
    from xmg.engine.train import meta_train

    rng = np.random.default_rng(0)
    monkeypatch.chdir(tmp_path)
    for c in range(9):
        for i in range(6):
            sound(Path(f"all/c{c:02d}/{i}.wav"), c, rng)
    for c, name in enumerate(["chainsaw", "rain"]):
        for i in "ab":
            sound(Path(f"labelled/{name}/{i}.wav"), 10 + 3 * c, rng)
        sound(Path(f"unlabelled/{c + 1:03d}.wav"), 10 + 3 * c, rng)
    encoder = load_encoder("logmel40-stats")
    target = extract(open_source(Path("all"), "audio"), encoder, Path("target.h5"))
    rows = np.eye(9, 12)[target.labels] + 0.1 * rng.normal(size=(54, 12))
    ids = [name.decode() for name in target.ids]
    names = [target.classes[c] for c in target.labels]
    source = synthetic.write(tmp_path / "source.h5", rows.astype("f4"), names, ids)
    config = synthetic.config_of(
        source, target, n_way=2, shots=(2,), n_query=2, iterations=1, n_sets=3, n_validation=4
    )
    meta_train(config, Path("runs/sounds"))


def test_sounds_get_names(sounds, capsys):
    blocks = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "docs/predict.md").read_text("utf-8"), re.M | re.S
    )
    space = {}
    for block in blocks:
        exec(block, space)
    assert capsys.readouterr().out.splitlines() == ["001.wav chainsaw", "002.wav rain"]
    assert space["classifier"].predict(space["one"]).tolist() == ["chainsaw"]


def test_what_is_loaded_late_is_listed():
    import xmg

    assert {"CrossModalClassifier", "load", "__version__"} <= set(dir(xmg))
