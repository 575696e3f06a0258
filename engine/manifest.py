"""The frozen episodes of a run as JSON: every system and every later reader meets the same."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from xmg.cache import FeatureFile, XmgError
from xmg.engine.config import Config
from xmg.engine.data.problem import Problem
from xmg.engine.data.tasks import class_sets, describe, test_tasks, validation_tasks
from xmg.engine.run import EPISODES


def make_manifest(problem: Problem, config: Config) -> str:
    """Return episodes.json: split, fixed class sets, and the rows of every episode."""
    validation, test = problem.validation, problem.test
    body = {
        "source": identity(problem.train.source.file),
        "target": identity(test.target.file),
        "split": _split(problem),
        "test_tasks": [[test.target.classes[c] for c in row] for row in class_sets(test, config)],
        "validation": describe(validation_tasks(validation, config, config.shots)),
        "test": describe(test_tasks(test, config, config.shots)),
    }
    return json.dumps({"sha256": _digest(body), **body})


def check_manifest(run: Path, problem: Problem, config: Config, shots: Sequence[int]) -> None:
    """Raise XmgError unless the episodes drawn now are those that the run was made with."""
    manifest = _read(run / EPISODES)
    for side, file in (("source", problem.train.source.file), ("target", problem.test.target.file)):
        now, then = identity(file), manifest[side]
        if any(now[key] != then[key] for key in ("fingerprint", "content")):
            raise XmgError(
                f"{file.path} has changed since {run} was trained on it.\n"
                f"fix: extract the former features again, or train a new run on these"
            )
    if manifest["split"] != _split(problem):
        listed = config.concepts or config.pairs
        cause = f"{listed} was edited" if listed else "another version of xmg ran"
        raise XmgError(
            f"the class split or the pairs differ from those frozen in {run / EPISODES}: {cause}.\n"
            "fix: undo that, or train a new run in another folder"
        )
    drawn = test_tasks(problem.test, config, [k for k in shots if str(k) in manifest["test"]])
    for k, tasks in drawn.items():
        if tasks.digest() != manifest["test"][str(k)]["sha256"]:
            raise XmgError(
                f"the {k}-shot episodes differ from those frozen in {run / EPISODES}: another "
                f"version of xmg drew them. fix: evaluate with the version that trained the run"
            )


def held_out(run: Path, part: Literal["validation", "test"]) -> list[str]:
    """Names of the classes that a run held out; raises XmgError where episodes.json is damaged."""
    names: list[str] = _read(run / EPISODES)["split"][part]
    return names


def _split(problem: Problem) -> dict[str, Any]:
    sets, sha = problem.train.sets, hashlib.sha256()
    for rows in (sets.source_offsets, sets.source_rows, sets.target_offsets, sets.target_rows):
        sha.update(np.ascontiguousarray(rows, "<i8").tobytes())
    return {
        "sets": list(sets.names),
        "pairs_sha256": sha.hexdigest(),
        "source_classes": list(problem.train.source.classes),
        "validation": list(problem.validation.target.classes),
        "test": list(problem.test.target.classes),
    }


def identity(file: FeatureFile) -> dict[str, str]:
    """What a feature file holds, and where it lies."""
    content = hashlib.sha256(
        file.array("checksums/frames" if file.is_sequence else "checksums/features").tobytes()
    ).hexdigest()
    return {
        "path": str(file.path),
        "dataset": file.dataset,
        "fingerprint": file.fingerprint,
        "content": content,
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise XmgError(f"{path} cannot be read ({error}). fix: train a new run") from error
    if not isinstance(manifest, dict) or "test" not in manifest:
        raise XmgError(f"{path} is no manifest of episodes. fix: train a new run")
    body = {key: value for key, value in manifest.items() if key != "sha256"}
    if manifest.get("sha256") != _digest(body):
        raise XmgError(f"{path} was edited (its hash does not fit). fix: train a new run")
    return manifest


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
