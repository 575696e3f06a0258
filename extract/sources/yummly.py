"""Layout "yummly28k": `metadata27638/` and `images27638/`, as Yummly-28K is published.

Classes are made as for the recipe task of cross-modal generalization (CROMA): a class is a set
of cuisines with a set of courses, small classes are left out and large ones cut down.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from xmg.cache import XmgError
from xmg.extract.sources.published import absent
from xmg.extract.sources.samples import Samples
from xmg.extract.types import Content, Modality, Source

MIN_RECIPES = 100  # in a class
METADATA: Final = "metadata27638"
IMAGES: Final = "images27638"
_NAME: Final = re.compile(r"meta([0-9]+)\.json")
_SEED: Final = 0  # the task's own, so that its very recipes are chosen


class _Recipe(NamedTuple):
    label: str | None  # None where it has no cuisine or no course
    text: str  # "" where no ingredients are listed


def find_yummly(root: Path) -> Path | None:
    """Return the folder with either half of the set: `root`, or Yummly28K/ inside it."""
    for folder in (root, root / "Yummly28K"):
        if (folder / METADATA).is_dir() or (folder / IMAGES).is_dir():
            return folder
    return None


def open_yummly(root: Path, modality: Modality) -> Source:
    """List ingredients (text) or photos (image) of the same recipes under the same ids, "00001".

    The label is the recipe's sorted cuisines and courses, joined by "_"; a recipe that lacks
    either is left out, and so is a class of less than MIN_RECIPES. Classes are capped at mean +
    std of the sizes of those kept, by a choice that never varies. A recipe whose file is broken,
    or whose photo is missing, stays in the list and is rejected when read.
    Raises XmgError where a folder is missing, or no class is large enough.
    """
    folder = find_yummly(root)
    if folder is None:
        raise absent("yummly28k", f"{root} holds neither {METADATA}/ nor {IMAGES}/")
    for needed in (METADATA, IMAGES) if modality == "image" else (METADATA,):
        if not (folder / needed).is_dir():
            raise absent("yummly28k", f"{folder} holds no {needed}/")
    recipes = _read_all(folder)
    kept = _choose(folder, recipes)
    found = [recipes[name] for name in kept]
    labels = [recipe.label if recipe else None for recipe in found]
    content: Callable[[int], Content] = partial(_photo, folder, kept, [r is None for r in found])
    if modality == "text":  # "" is rejected when read
        content = [recipe.text if recipe else "" for recipe in found].__getitem__
    return Source("yummly28k", Samples(kept, labels, content))


def _read_all(folder: Path) -> dict[str, _Recipe | None]:
    """Read every recipe, in the order of their ids; None where one is broken."""
    found = (_NAME.fullmatch(file.name) for file in (folder / METADATA).iterdir())
    ids = sorted(match[1] for match in found if match)
    if not ids:
        raise absent("yummly28k", f"{folder / METADATA} holds no meta00001.json, ...")
    return {name: _read(_metadata(folder, name)) for name in ids}


def _read(file: Path) -> _Recipe | None:
    try:
        recipe = json.loads(file.read_text("utf-8-sig"))
        if not isinstance(recipe, dict):
            return None
        label = _label(recipe.get("attributes"))
        text = ", ".join(_strings(recipe.get("ingredientLines"))).lower()
        f"{label}{text}".encode()  # JSON can spell half a character, which no feature file holds
    except (OSError, ValueError, RecursionError):
        return None
    return _Recipe(label, text)


def _label(attributes: object) -> str | None:
    if not isinstance(attributes, dict):
        return None
    parts = [sorted(_strings(attributes.get(name))) for name in ("cuisine", "course")]
    return "_".join([*parts[0], *parts[1]]) if all(parts) else None


def _strings(value: object) -> list[str]:
    """Return a list of texts as it is, and nothing for anything else."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    return []


def _choose(folder: Path, recipes: Mapping[str, _Recipe | None]) -> list[str]:
    """Return the ids to list, sorted: those of the chosen recipes and of the broken ones."""
    labels = {name: recipe.label for name, recipe in recipes.items() if recipe and recipe.label}
    sizes = Counter(labels.values())
    large = {label: n for label, n in sizes.items() if n >= MIN_RECIPES}
    if not large:
        raise XmgError(
            f"no class of {folder} has {MIN_RECIPES} recipes: {len(labels):,} of "
            f"{len(recipes):,} recipes name cuisine and course, in {len(sizes):,} classes. "
            f"fix: unpack the archive again, whole"
        )
    chosen = _cut(list(recipes), labels, large)
    return [name for name, recipe in recipes.items() if recipe is None or name in chosen]


def _cut(ids: list[str], labels: Mapping[str, str], large: Mapping[str, int]) -> set[str]:
    """Choose ids in shuffled order until their class exceeds mean + std of the class sizes.

    All ids are shuffled, not just those of large classes: a broken file must not change which
    of the others are chosen.
    """
    sizes = list(large.values())
    limit = float(np.mean(sizes) + np.std(sizes))
    random.Random(_SEED).shuffle(ids)
    taken: Counter[str] = Counter()
    chosen = set()
    for name in ids:
        label = labels.get(name, "")
        if label in large and taken[label] <= limit:  # <=: one over, as released
            taken[label] += 1
            chosen.add(name)
    return chosen


def _metadata(folder: Path, name: str) -> Path:
    return folder / METADATA / f"meta{name}.json"


def _photo(folder: Path, ids: Sequence[str], broken: Sequence[bool], row: int) -> Path:
    """Return a photo; for a broken recipe its file, which no decoder takes for a picture."""
    if broken[row]:
        return _metadata(folder, ids[row])
    return folder / IMAGES / f"img{ids[row]}.jpg"
