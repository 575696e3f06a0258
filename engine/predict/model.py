"""A meta-trained model as it is put to use: from a run folder, or from an exported one."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

import torch
from pydantic import BaseModel, Field

from xmg.cache import FeatureFile, FeatureSpec, Sealed, XmgError
from xmg.cache.identity import differences, meaning, recipe
from xmg.engine.config import Config, make_config
from xmg.engine.data.fetch import fetch
from xmg.engine.data.pool import Pool, pool_of, sealed
from xmg.engine.learner import CLASS_MEANS, Learner, adapt
from xmg.engine.meta_test import open_run
from xmg.engine.methods.system import learner
from xmg.engine.run import CONFIG, EPISODES, load_state

WEIGHTS, MODEL, VALIDATION = "model.safetensors", "model.json", "validation.h5"
FORMAT: Final = 1


@dataclass(frozen=True, slots=True, eq=False, repr=False, weakref_slot=True)
class Model:
    """What answers tasks of the target modality.

    validation: rows of classes that meta-training never saw, by which settings are chosen and
    probabilities calibrated. made_by: what makes features that it can read.
    """

    config: Config
    learner: Learner
    validation: Pool
    made_by: FeatureSpec

    def __deepcopy__(self, memo: object) -> "Model":
        return self  # never written to, and scikit-learn's clone copies parameters

    def __repr__(self) -> str:
        return f"<{self.config.system} on {self.made_by.dataset} by {self.made_by.encoder}>"

    @property
    def dim(self) -> int:
        """D, the width of a feature vector or frame."""
        return self.validation.file.dim

    @property
    def is_sequence(self) -> bool:
        """Whether inputs are sequences of frames."""
        return self.validation.file.is_sequence

    def learner_for(self, *n_ways: int) -> Learner:
        """The learner of tasks of so many classes; phi^meta serves no others than its own."""
        if set(n_ways) == {self.config.n_way}:
            return self.learner
        theta = {name: value for name, value in self.learner.theta.items() if name != "phi"}
        return replace(self.learner, theta=theta)


def load_model(path: Path | str) -> Model:
    """Load a finished run, or a folder that `xmg export` wrote.

    A run needs its feature files, an exported model nothing else. Raises XmgError where the folder
    is neither, or is damaged, or where a run's files are missing or have changed.
    """
    path = Path(path)
    if (path / MODEL).is_file():
        return _exported(path)
    if not (path / EPISODES).is_file() and not (path / CONFIG).is_file():
        raise XmgError(
            f"{path} is neither a run folder (no {CONFIG}) nor an exported model (no {MODEL}). "
            "fix: name the folder that xmg meta-train --run or xmg export -o made"
        )
    config, problem, state = open_run(path)
    spec = FeatureFile(config.target).spec
    fitted = learner(state.theta, state.fronts, config)
    return Model(config, fitted, problem.validation.target, spec)


def _exported(path: Path) -> Model:
    found = read_description(path)
    config = make_config(**found.config)
    pool, spec = _held_out(path, found.classes.validation)
    state = load_state(path / WEIGHTS)
    model = Model(config, learner(state.theta, state.fronts, config), pool, spec)
    try:
        x = fetch(pool.file, pool.rows[:2])
        adapt(model.learner, x, torch.tensor([0, 1]), 2, CLASS_MEANS, config.tau)
    except (KeyError, IndexError, RuntimeError, ValueError) as error:
        raise XmgError(
            f"{path}: {MODEL}, {WEIGHTS} and {VALIDATION} are not of one model ({error}). "
            "fix: export it again"
        ) from error
    return model


def _held_out(path: Path, classes: list[str]) -> tuple[Pool, FeatureSpec]:
    """Rows of an exported model's held-out classes, and what made them. Raises XmgError where they
    cannot be read or are another model's: no xmg extract makes them, as it does other files."""
    try:
        file = FeatureFile(path / VALIDATION)
        return sealed(pool_of(file, classes), alone=True), file.spec
    except XmgError as error:
        raise XmgError(
            f"{path}: {VALIDATION} is lost, damaged or of another model ({error.fault}). "
            "fix: export it again"
        ) from error


class _Classes(BaseModel):
    validation: Annotated[list[str], Field(min_length=2)]


class Description(BaseModel):
    """What of model.json the program reads; the rest is for people."""

    format: Annotated[int, Field(ge=FORMAT, le=FORMAT)]
    config: dict[str, Any]
    classes: _Classes


def read_description(path: Path) -> Description:
    """model.json of an exported model. Raises XmgError where it is damaged or of the future."""
    try:
        content: Any = json.loads((path / MODEL).read_text(encoding="utf-8"))
        version = content.get("format") if isinstance(content, dict) else None
        if isinstance(version, int) and version > FORMAT:
            raise XmgError(
                f"{path} is an exported model of format {version}, and this xmg reads {FORMAT}. "
                "fix: pip install --upgrade xmg"
            )
        found = Description.model_validate(content, strict=True)
    except (OSError, ValueError) as error:  # pydantic's errors are ValueErrors
        raise XmgError(f"{path / MODEL} is damaged ({error}). fix: export it again") from error
    names = found.classes.validation
    if len(set(names)) < len(names):
        raise XmgError(f"{path / MODEL} names a held-out class twice. fix: export it again")
    return found


def check_features(model: Model, file: FeatureFile | Sealed) -> str:
    """What differs in the last bits from the features that a model was trained on, "" if nothing.

    Raises XmgError where they are of another encoder, of other weights or of another recipe.
    """
    wanted, found = model.made_by, file.spec
    which = differences(meaning(found), meaning(wanted))
    if which or file.dim != model.dim or file.is_sequence != model.is_sequence:
        raise XmgError(
            f"{file.path} holds other features than the model was trained on: "
            f"{which or f'rows of {file.dim}, would be of {model.dim}'}.\n"
            f"fix: extract it with the encoder {wanted.encoder} and the same options"
        )
    return differences(_rounding(found), _rounding(wanted))


def _rounding(spec: FeatureSpec) -> dict[str, Any]:
    """What is left of what made them."""
    said = recipe(spec.preprocessing)
    left = {key: value for key, value in spec.preprocessing.items() if key not in said}
    return {"preprocessing": left, "versions": spec.versions}
