"""The run folder: what a meta-training leaves behind, and how it is read back.

config.json          every setting; paths are absolute
episodes.json        class split and frozen episodes, by row and feature-file fingerprint
metrics.jsonl        one line for each validation
last.safetensors     fronts, theta^meta and where training stands
best.safetensors     the same at the highest meta-validation accuracy
.lock                who trains into it; empty when nobody does
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from xmg.cache import XmgError
from xmg.cache.writing import disk
from xmg.engine.config import Config
from xmg.engine.model.fronts import Fronts
from xmg.engine.model.heads import Theta
from xmg.engine.model.whitening import Whitening

CONFIG, EPISODES, METRICS = "config.json", "episodes.json", "metrics.jsonl"
BEST, LAST = "best.safetensors", "last.safetensors"
LOCK = ".lock"
_OUTER = "outer."
_DAMAGED = (OSError, SafetensorError, KeyError, TypeError, ValueError)  # what reading one raises


@dataclass(frozen=True, slots=True)
class State:
    """Where training stands after `iteration` meta-iterations."""

    theta: Theta
    outer: Theta  # state of the meta-optimizer
    fronts: Fronts
    iteration: int
    best_accuracy: float  # on meta-validation, so far
    best_iteration: int


def replace_text(path: Path, text: str) -> None:
    """Replace a file at once and for good: whatever happens there is the old text or the new."""
    disk.write_file(path, text.encode("utf-8"))


def save_state(path: Path, state: State) -> None:
    """Replace a checkpoint at once, as `replace_text` does."""
    tensors = {name: value.detach().contiguous() for name, value in _tensors(state).items()}
    where: dict[str, float] = {
        "iteration": state.iteration,
        "best_accuracy": state.best_accuracy,
        "best_iteration": state.best_iteration,
    }
    for side, front in _sides(state.fronts).items():
        where |= {f"{side}_root": front.root, f"{side}_frames": front.frames}
    disk.write_file(path, save(tensors, {"xmg": json.dumps(where)}))


def load_state(path: Path) -> State:
    """Read a checkpoint; raises XmgError where it is missing, closed, damaged, or not ours."""
    try:
        return _read_state(path)
    except FileNotFoundError:
        raise XmgError(f"no checkpoint at {path}.\nfix: {_way_back(path)}") from None
    except _DAMAGED as error:
        raise XmgError(
            f"{path} is not a checkpoint of xmg, or is damaged ({error}).\nfix: {_way_back(path)}"
        ) from error


def restore(run: Path) -> State:
    """The state to go on from. Of the two checkpoints one that is missing is made from the other,
    where that holds the same or is older; raises XmgError where it does not, or is damaged."""
    for path in (run / LAST, run / BEST):
        spare = None if path.exists() else _spare(path)
        if spare:
            disk.write_file(path, spare.read_bytes())
    load_state(run / BEST)  # now, and not after the last iteration
    return load_state(run / LAST)


def has_checkpoint(run: Path) -> bool:
    """Whether there is anything to go on from."""
    return any((run / name).exists() for name in (LAST, BEST))


def _spare(path: Path) -> Path | None:
    """The other checkpoint of a run, where it can stand in for this one.

    For the last the best, from which training goes on to the same result; for the best the last, if
    no other was better.
    """
    other = path.with_name(BEST if path.name == LAST else LAST)
    try:
        state = _read_state(other)
    except _DAMAGED:
        return None
    return other if other.name == BEST or state.iteration == state.best_iteration else None


def _way_back(path: Path) -> str:
    """What to type where a checkpoint is missing or damaged."""
    if path.name not in {BEST, LAST}:
        return "export the model again"
    spare = _spare(path)
    gone = [p for p in ((path,) if spare else (path, path.with_name(LAST))) if p.exists()]
    again = "repeat the xmg meta-train command that made the run; it "
    again += f"goes on from {spare.name}" if spare else "trains again, to the same result"
    return f"rm {shlex.join(map(str, dict.fromkeys(gone)))}, then {again}" if gone else again


def _read_state(path: Path) -> State:
    """As load_state; raises one of _DAMAGED, and XmgError where nobody may read it."""
    try:
        path.open("rb").close()  # safetensors calls missing what it may not read
    except PermissionError as error:
        raise XmgError(
            f"cannot read {path}: {error.strerror}. fix: mend its permissions, as by chmod u+r, "
            "and type the same command again"
        ) from None
    with safe_open(path, "pt") as file:
        where = json.loads((file.metadata() or {})["xmg"])
        # Cloned: products of rows that lie askew in a map may round differently
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    return _state(where, tensors)


def _state(where: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> State:
    """Assemble a state; raises ValueError, KeyError or TypeError where a part is wrong."""
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise ValueError("it holds NaN or infinite weights")
    fronts = {
        side: Whitening(
            tensors[f"{side}_matrix"],
            tensors[f"{side}_offset"],
            bool(where[f"{side}_root"]),
            bool(where.get(f"{side}_frames")),
        )
        for side in ("source", "target")
        if side == "target" or f"{side}_matrix" in tensors
    }
    fixed = {f"{s}_{part}" for s in ("source", "target") for part in ("matrix", "offset")}
    outer = {name.removeprefix(_OUTER): x for name, x in tensors.items() if name.startswith(_OUTER)}
    theta = {n: x for n, x in tensors.items() if n not in fixed and not n.startswith(_OUTER)}
    if missing := {*fronts, "phi"} - theta.keys():
        raise KeyError(*missing)
    return State(
        theta,
        outer,
        Fronts(fronts.get("source"), fronts["target"]),
        int(where["iteration"]),
        float(where["best_accuracy"]),
        int(where["best_iteration"]),
    )


def load_config(run: Path) -> Config:
    """Read a run's settings; raises XmgError where `run` is no run folder."""
    path = run / CONFIG
    if not path.is_file():
        raise XmgError(
            f"{run} is not a run folder (no {CONFIG}). fix: name the folder that xmg meta-train "
            "--run has made"
        )
    try:
        return Config.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise XmgError(
            f"{path} is damaged or of another version of xmg. fix: train a new run, elsewhere"
        ) from error


def n_missing(run: Path) -> int:
    """How many meta-iterations a run has yet to do; raises XmgError as `load_state`."""
    last = run / LAST
    return load_config(run).iterations - load_state(last).iteration if last.exists() else 0


def append_metrics(run: Path, row: Mapping[str, Any]) -> None:
    """Add one JSON line."""
    with (run / METRICS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Read the whole lines; a last line cut short by a crash is dropped.

    Raises XmgError where they are damaged, and OSError where the file may not be read.
    """
    path = run / METRICS
    if not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        rows = [json.loads(line) for line in lines if line.endswith("\n")]
        return [row for row in rows if row["iteration"] >= 0]
    except (ValueError, KeyError, TypeError) as error:
        raise XmgError(
            f"{path} is damaged ({error!r}).\n"
            f"fix: rm {shlex.quote(str(path))}, which holds the learning curves and nothing else"
        ) from error


def _tensors(state: State) -> dict[str, Tensor]:
    sides = _sides(state.fronts)
    fronts = {f"{side}_matrix": front.matrix for side, front in sides.items()}
    offsets = {f"{side}_offset": front.offset for side, front in sides.items()}
    outer = {_OUTER + name: value for name, value in state.outer.items()}
    return {**state.theta, **fronts, **offsets, **outer}


def _sides(fronts: Fronts) -> dict[str, Whitening]:
    both = {"source": fronts.source, "target": fronts.target}
    return {side: front for side, front in both.items() if front}
