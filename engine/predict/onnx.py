"""An adapted classifier as an ONNX graph, which needs neither torch nor xmg to answer."""

import json
import logging
import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from xmg.cache import FeatureSpec, XmgError
from xmg.cache.outputs import appearing
from xmg.engine.learner import Adapted
from xmg.engine.predict.calibration import Tuning
from xmg.engine.predict.classifier import CrossModalClassifier

TOLERANCE: Final = 1e-4  # between logarithms of the graph's probabilities and ours
_LEAST: Final = 1e-30  # a probability whose logarithm single precision still holds
_PROBED: Final = 64  # random rows that are compared


class _Graph(nn.Module):
    """features (N, D) float32 to probabilities (N, n_way) and the number of the likeliest."""

    def __init__(self, adapted: Adapted, tuning: Tuning) -> None:
        super().__init__()
        self.adapted, self.tuning = adapted, tuning

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        p = self.tuning.probabilities(self.adapted.logits(features))
        return p, p.argmax(-1)


def write_onnx(classifier: CrossModalClassifier, out: Path, like: npt.NDArray[Any]) -> float:
    """Write a classifier that `fit` has adapted with a run; return the largest difference.

    Input `features` (N, D) float32, outputs `probabilities` (N, n_way) and `label` (N,), a number
    in `classes`, which the metadata lists beside the encoder and its recipe. The graph is run by
    onnxruntime on rows like (n, D) and on random ones, and logarithms of probabilities are
    compared: where one class is all but certain, probabilities agree whatever the graph. Raises
    XmgError where they differ by more than 1e-4, where inputs are sequences, or where a package is
    missing; nothing is written then.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  (torch's exporter needs it)
    except ModuleNotFoundError as error:
        raise XmgError(
            f"ONNX needs {error.name}, which is not installed. fix: pip install 'xmg[onnx]'"
        ) from None
    model, tuning = classifier.model_, classifier.tuning_
    if model is None or tuning is None or model.is_sequence:
        raise XmgError("ONNX is written of a run on vectors. fix: name a run of a pooled encoder")
    proto = _traced(_Graph(classifier.adapted_, tuning), model.dim)
    names = [str(name) for name in classifier.classes_]
    onnx.helper.set_model_props(proto, _metadata(names, model.made_by, tuning))
    onnx.checker.check_model(proto)
    content = proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    difference = _difference(classifier, session, like)
    if not difference <= TOLERANCE:
        raise XmgError(
            f"the ONNX graph differs from the classifier by {difference:.1e} in log-probability, "
            f"more than {TOLERANCE:.0e}; it was not written. fix: another version of onnxruntime "
            "or torch"
        )
    with appearing(out) as file:
        file.write(content)
    return difference


def _traced(graph: nn.Module, dim: int) -> Any:
    example = torch.zeros(2, dim)
    noisy = logging.getLogger("torch.onnx")
    level = noisy.level
    noisy.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():  # the exporter's own use of what torch deprecates
            warnings.simplefilter("ignore")
            program: Any = torch.onnx.export(
                graph.eval(), (example,), dynamo=True, verbose=False,
                input_names=["features"], output_names=["probabilities", "label"],
                dynamic_shapes=({0: torch.export.Dim("n")},),
            )  # fmt: skip
    finally:
        noisy.setLevel(level)
    return program.model_proto


def _metadata(names: list[str], made_by: FeatureSpec, tuning: Tuning) -> dict[str, str]:
    return {
        "classes": json.dumps(names, ensure_ascii=False),
        "encoder": made_by.encoder,
        "weights_sha256": made_by.weights_sha256,
        "preprocessing": json.dumps(dict(made_by.preprocessing)),
        "temperature": repr(tuning.temperature),
    }


def _difference(classifier: CrossModalClassifier, session: Any, like: npt.NDArray[Any]) -> float:
    rng = np.random.default_rng(0)
    like = np.asarray(like, np.float32)
    random = like[rng.integers(len(like), size=_PROBED)]
    random = random * rng.uniform(0.5, 1.5, random.shape).astype(np.float32)
    worst = 0.0
    for rows in (like, random, like[:1]):
        found = session.run(["probabilities"], {"features": rows})[0]
        logs = (np.log(np.maximum(p, _LEAST)) for p in (found, classifier.predict_proba(rows)))
        worst = max(worst, float(np.abs(np.subtract(*logs)).max()))
    return worst
