"""Where inputs come from: one file per layout, and `open_source`, which tells them apart."""

from collections.abc import Callable
from pathlib import Path
from typing import Final, get_args

from xmg.cache import XmgError
from xmg.cache.outputs import required
from xmg.extract.sources import manifest
from xmg.extract.sources.cifar import find_cifar, open_cifar
from xmg.extract.sources.esc50 import META, open_esc50
from xmg.extract.sources.folder import check_open, open_folder
from xmg.extract.sources.manifest import open_manifest
from xmg.extract.sources.published import PUBLISHED, check_folder
from xmg.extract.sources.wilderness import is_wilderness, open_wilderness
from xmg.extract.sources.yummly import find_yummly, open_yummly
from xmg.extract.types import Modality, Source

__all__ = [
    "LAYOUTS",
    "open_cifar",
    "open_esc50",
    "open_folder",
    "open_manifest",
    "open_source",
    "open_wilderness",
    "open_yummly",
]

LAYOUTS: Final = ("auto", "folder", "manifest", *PUBLISHED)
_RECOGNISED: Final[dict[str, Callable[[Path], object]]] = {
    "esc50": lambda root: (root / META).is_file(),
    "cifar": find_cifar,
    "yummly28k": find_yummly,
    "wilderness": is_wilderness,
}


def open_source(
    root: Path,
    modality: Modality,
    *,
    layout: str = "auto",
    id_column: str | None = None,
    content_column: str | None = None,
    label_column: str | None = None,
    allow_outside: bool = False,
) -> Source:
    """List the inputs at `root`, a manifest file or a folder in one of LAYOUTS.

    "auto" takes, in this order: a manifest file; ESC-50; CIFAR; Yummly-28K; CMU Wilderness; a
    folder with a manifest in it; one folder per class. Where a set has two modalities, `modality`
    says which one to list. The three columns belong to manifests, and so does `allow_outside`:
    whether their paths may lead out of the manifest's folder.
    Raises XmgError where nothing is there, nothing fits, or the options contradict.
    """
    if modality not in get_args(Modality):
        raise XmgError(f"there is no modality {modality!r}. fix: image, text or audio")
    if layout in PUBLISHED:
        check_folder(layout, root)
    required(root)
    named = {"id": id_column, "content": content_column, "label": label_column}
    options = {f"{k}_column": v for k, v in named.items() if v is not None}
    if layout == "auto":
        layout = _detect(root, manifest_wanted=bool(options))
    if options and layout != "manifest":
        raise XmgError(
            f"{root} is read as layout {layout!r}, which has no columns to name. "
            f"fix: leave out --{next(iter(options)).replace('_', '-')}, or give a manifest"
        )
    if layout == "manifest":
        file = _manifest_in(root, modality)
        return open_manifest(file, modality, **options, allow_outside=allow_outside)
    return _open_folder(root, modality, layout)


def _open_folder(root: Path, modality: Modality, layout: str) -> Source:
    if layout == "folder":
        return open_folder(_folder(root), modality)
    if layout not in PUBLISHED:
        raise XmgError(f"no layout {layout!r}. fix: --layout one of {', '.join(LAYOUTS)}")
    return _open_published(root, modality, layout)


def _open_published(root: Path, modality: Modality, layout: str) -> Source:
    held = PUBLISHED[layout].modalities
    if modality not in held:
        raise XmgError(
            f"{root} is {layout}, which holds {' and '.join(held)}, not {modality}. "
            f"fix: choose an --encoder of {' or '.join(held)}, or another --layout"
        )
    if layout == "esc50":
        return open_esc50(root)
    if layout == "cifar":
        return open_cifar(root)
    return (open_yummly if layout == "yummly28k" else open_wilderness)(root, modality)


def _detect(root: Path, *, manifest_wanted: bool) -> str:
    if root.is_file() or manifest_wanted:
        return "manifest"
    check_open(root)
    published = next((layout for layout, fits in _RECOGNISED.items() if fits(root)), None)
    if published:
        return published
    if _manifests(root):
        return "manifest"
    if not any(root.iterdir()):
        raise XmgError(f"{root} is an empty folder. fix: check the path, or unpack the data there")
    return "folder"


def _folder(root: Path) -> Path:
    if not root.is_dir():
        raise XmgError(f"{root} is a file; this layout is a folder. fix: --layout manifest")
    return root


def _manifest_in(root: Path, modality: Modality) -> Path:
    """Return the manifest at `root`: itself, the only one inside, or the one named after."""
    if root.is_file():
        if root.suffix in manifest.SUFFIXES:
            return root
        raise XmgError(f"{root} is no manifest. fix: give a .csv, .tsv or .jsonl, or a folder")
    found = _manifests(root)
    named = [file for file in found if file.stem == modality]
    if len(found) != 1 and len(named) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise XmgError(
            f"{root} holds several manifests, or none ({names}). fix: give the path of one"
        )
    return (named or found)[0]


def _manifests(root: Path) -> list[Path]:
    files = (f for f in root.iterdir() if f.suffix in manifest.SUFFIXES)
    return sorted(f for f in files if f.is_file() and not f.name.startswith("."))
