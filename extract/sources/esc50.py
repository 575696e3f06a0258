"""Layout "esc50": `meta/esc50.csv` and `audio/`, as ESC-50 is published."""

from functools import partial
from pathlib import Path

from xmg.cache import XmgError
from xmg.extract.sources.manifest import pick, read_columns
from xmg.extract.sources.published import absent
from xmg.extract.sources.samples import Samples
from xmg.extract.types import Source

META = Path("meta", "esc50.csv")
_STANDINS = (".ogg", ".flac")


def open_esc50(root: Path) -> Source:
    """List the clips in the order of `meta/esc50.csv`: id = filename, label = category.

    Column "recording" is the file that a clip was cut from, "fold" the published fold. Where
    a listed file is absent, an .ogg or .flac of the same stem is taken. Raises XmgError where
    the table or the audio folder is missing, or the table names a file in another folder.
    """
    meta, audio = root / META, root / "audio"
    if not meta.is_file():
        raise absent("esc50", f"{root} holds no {META}")
    if not audio.is_dir():
        raise absent("esc50", f"{root} has {META} but no folder audio/ beside it")
    columns = read_columns(meta)
    names = pick(meta, columns, "filename")
    _check_names(meta, names)
    present = {file.name for file in audio.iterdir()}
    files = [_standin(name, present) for name in names]
    kept = {"recording": pick(meta, columns, "src_file"), "fold": pick(meta, columns, "fold")}
    labels = list(pick(meta, columns, "category"))
    return Source("esc50", Samples(names, labels, partial(_path, audio, files)), kept)


def _check_names(meta: Path, names: list[str]) -> None:
    for row, name in enumerate(names, start=1):
        if "/" in name:
            raise XmgError(f"{meta}, row {row}: {name!r} is not in audio/. fix: unpack it again")


def _standin(name: str, present: set[str]) -> str:
    """Return the file to read; a name with no file at all stays, and is rejected when read."""
    others = (str(Path(name).with_suffix(suffix)) for suffix in _STANDINS)
    return next((n for n in (name, *others) if n in present), name)


def _path(audio: Path, files: list[str], row: int) -> Path:
    return audio / files[row]
