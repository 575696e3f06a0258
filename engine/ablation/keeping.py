"""The spec that an ablation ran, kept beside its results: whoever reads them needs no more."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from xmg.cache import XmgError
from xmg.engine.ablation.results import Finished, read
from xmg.engine.ablation.spec import Spec, cells_of
from xmg.engine.config import FILES
from xmg.engine.run import replace_text

SPEC: Final = "spec.json"


class Kept(BaseModel):
    """What spec.json holds. cells: where each result lies, below the folder, by `cells_of`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    spec: Spec
    cells: list[str]


def keep(out: Path, title: str, spec: Spec, folders: Sequence[Path]) -> None:
    """Write spec.json, with absolute paths."""
    absolute = {n: path.resolve() for n in FILES if (path := getattr(spec, n)) is not None}
    kept = Kept(
        title=title,
        spec=spec.model_copy(update=absolute),
        cells=[folder.relative_to(out).as_posix() for folder in folders],
    )
    replace_text(out / SPEC, json.dumps(kept.model_dump(mode="json"), indent=1))


def read_kept(out: Path) -> tuple[Kept, list[Finished]]:
    """Read the spec and its cells; the feature files may have moved since.

    Raises XmgError where there is none, as in folders of former versions, or it is damaged.
    """
    path = out / SPEC
    again = f"repeat the command that made it, xmg ablate SPEC -o {out}: what is finished stays"
    try:
        kept = Kept.model_validate_json(path.read_text(encoding="utf-8"))
        cells = cells_of(kept.spec)
    except FileNotFoundError:
        raise XmgError(f"{out} lacks {SPEC}, which says what its cells are. fix: {again}") from None
    except (OSError, UnicodeDecodeError, ValidationError, XmgError) as error:
        raise XmgError(f"{path} is damaged or of another version of xmg. fix: {again}") from error
    folders = [out / name for name in kept.cells]
    inside = all(f.resolve().is_relative_to(out.resolve()) for f in folders)
    if len(folders) != len(cells) or not inside:
        raise XmgError(f"{path} does not fit its cells. fix: {again}")
    return kept, read(cells, folders)
