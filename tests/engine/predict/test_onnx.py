"""The ONNX graph answers as the classifier does, in another runtime."""

import json
from dataclasses import replace

import numpy as np
import numpy.testing as npt
import pytest

from xmg.cache import XmgError
from xmg.engine.learner import Setting
from xmg.engine.predict import onnx as exporting
from xmg.engine.predict.calibration import tune
from xmg.engine.predict.classifier import CrossModalClassifier

pytest.importorskip("onnxscript")
ort = pytest.importorskip("onnxruntime")
SETTINGS = [
    Setting("class-means", 0.0, 0, 2.0),
    Setting("meta", 0.01, 7),
    Setting("logistic", 10.0, 0, 0.5),
]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.start)
def test_onnxruntime_agrees(model, task, tmp_path, monkeypatch, setting):
    x, names, query, _ = task
    tuned = replace(tune(model, 3, 4), setting=setting)
    monkeypatch.setattr("xmg.engine.predict.classifier.tune", lambda *_: tuned)
    one = CrossModalClassifier(model).fit(x, names)
    assert exporting.write_onnx(one, tmp_path / "a.onnx", x) < exporting.TOLERANCE
    session = ort.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    p, label = session.run(None, {"features": query.astype("f4")})
    npt.assert_allclose(p, one.predict_proba(query), atol=1e-5)
    told = session.get_modelmeta().custom_metadata_map
    classes = json.loads(told["classes"])
    assert [classes[i] for i in label] == one.predict(query).tolist()
    assert json.loads(told["preprocessing"]) == {"scale": 1}
    assert float(told["temperature"]) == tuned.temperature
    assert session.run(None, {"features": query[:0].astype("f4")})[0].shape == (0, 3)


def test_a_graph_that_differs_is_not_written(model, task, tmp_path, monkeypatch):
    x, names, _, _ = task
    one = CrossModalClassifier(model).fit(x, names)
    monkeypatch.setattr(exporting, "_difference", lambda *_: 1e-3)
    with pytest.raises(XmgError, match=r"differs from the classifier by 1\.0e-03"):
        exporting.write_onnx(one, tmp_path / "a.onnx", x)
    monkeypatch.setattr(exporting, "_difference", lambda *_: float("nan"))
    with pytest.raises(XmgError, match="differs"):
        exporting.write_onnx(one, tmp_path / "a.onnx", x)
    assert not list(tmp_path.iterdir())


def test_without_a_run_or_a_package(task, model, tmp_path, monkeypatch):
    x, names, _, _ = task
    with pytest.raises(XmgError, match="of a run on vectors"):
        exporting.write_onnx(CrossModalClassifier().fit(x, names), tmp_path / "a.onnx", x)
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(XmgError, match=r"pip install 'xmg\[onnx\]'"):
        exporting.write_onnx(CrossModalClassifier(model).fit(x, names), tmp_path / "a.onnx", x)


def test_the_measured_difference_is_of_the_graph(model, task, tmp_path):
    """A classifier moved after its graph was made differs by what it moved."""
    x, names, query, _ = task
    one = CrossModalClassifier(model).fit(x, names)
    exporting.write_onnx(one, tmp_path / "a.onnx", x)
    session = ort.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    before = one.predict_proba(query)
    one.adapted_.weights.mul_(1.3)
    moved = np.abs(one.predict_proba(query) - before).max()
    assert exporting._difference(one, session, query) >= moved - 1e-5 > 1e-3


def test_a_difference_shows_where_one_class_is_all_but_certain(model, task, tmp_path, monkeypatch):
    """Probabilities of 1 and 1e-20 agree to 1e-20 whatever the graph; their logarithms do not."""
    x, names, query, _ = task
    tuned = replace(tune(model, 3, 4), setting=SETTINGS[0], temperature=2e-3)
    monkeypatch.setattr("xmg.engine.predict.classifier.tune", lambda *_: tuned)
    one = CrossModalClassifier(model).fit(x, names)
    exporting.write_onnx(one, tmp_path / "a.onnx", x)
    session = ort.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    clear = query[one.predict_proba(query).max(1) > 1 - 1e-9]
    monkeypatch.setattr(exporting, "_PROBED", 1)
    before = one.predict_proba(clear)
    one.adapted_.weights.mul_(0.99)
    assert len(clear) and np.abs(one.predict_proba(clear) - before).max() < 1e-8
    assert exporting._difference(one, session, clear) > 1e-2
