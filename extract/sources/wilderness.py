"""Layout "wilderness": a folder for each language, as the scripts of CMU Wilderness leave it.

`NANTTV/aligned/etc/txt.done.data` has a line for each utterance, with its duration and the score
of its alignment, and `NANTTV/aligned/wav/` has its speech:

    ( B01___01_Matthew_____NANTTVN2DA_00001 "some \\"quoted\\" text" 5.176 3.42 )
"""

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from xmg.cache import XmgError
from xmg.extract.sources.folder import is_folder
from xmg.extract.sources.published import absent
from xmg.extract.sources.samples import Samples, printable
from xmg.extract.types import Content, Modality, Source

PROMPTS: Final = Path("aligned", "etc", "txt.done.data")
SPEECH: Final = Path("aligned", "wav")
# The id names a file, so it has no separators. Where a quote in the text is not escaped, the
# text still ends at the last one: the scripts read it so.
_LINE: Final = re.compile(r'\s*\(\s*([^\s"/\\\0()][^\s"/\\\0]*)(?=\s|$)(?:\s+"(.*)")?')
_ESCAPED: Final = re.compile(r'\\(["\\])')
_NUMBER: Final = re.compile(r"_[0-9]+$")


def is_wilderness(root: Path) -> bool:
    """Whether `root` holds the folder of a language, or is one."""
    return _is_language(root) or next(_languages(root), None) is not None


def open_wilderness(root: Path, modality: Modality) -> Source:
    """List the utterances of every language, as text or as speech (audio), under the same ids.

    The label is the language's folder. Column "recording" is the chapter, which is the id without
    its last number: one speaker, one room. An utterance without text or speech stays in the list
    and is rejected when read. Left out are files of speech that txt.done.data does not list,
    lines of it that name no utterance, and an utterance listed again with the same text.
    Raises XmgError where there is no language or no utterance, or where an id is ambiguous.
    """
    if _is_language(root):
        raise XmgError(
            f"{root} is the folder of one language, and languages are the classes. "
            f"fix: give the folder above it"
        )
    names = sorted(_languages(root))
    if not names:
        raise absent("wilderness", f"no folder in {root} holds {PROMPTS}")
    languages = {name: _read(root / name / PROMPTS) for name in names}
    _check_ids(root, languages)
    ids = [name for texts in languages.values() for name in texts]
    if not ids:
        raise absent("wilderness", f"no {PROMPTS} in {root} lists an utterance")
    folders = [name for name, texts in languages.items() for _ in texts]
    content: Callable[[int], Content] = partial(_speech, root, folders, ids)
    if modality == "text":
        content = [text for texts in languages.values() for text in texts.values()].__getitem__
    labels, shown = [printable(name) for name in folders], [printable(name) for name in ids]
    columns = {"recording": [_chapter(name) for name in shown]}
    return Source("wilderness", Samples(shown, labels, content), columns)


def _languages(root: Path) -> Iterator[str]:
    """Yield the name of each folder in `root` that is not hidden and has a txt.done.data."""
    with os.scandir(root) as entries:
        for entry in entries:
            if not entry.name.startswith(".") and is_folder(entry) and _is_language(entry):
                yield entry.name


def _is_language(folder: os.PathLike[str]) -> bool:
    try:
        return Path(folder, PROMPTS).is_file()
    except OSError:  # a folder that may not be entered: some other layout's, if any
        return False


def _read(file: Path) -> dict[str, str]:
    """Return id -> text in the order of `file`, "" where the text is missing or not UTF-8.

    Raises XmgError where it cannot be read, or an id has two texts.
    """
    found: dict[str, str] = {}
    try:
        # universal newlines, and one bad byte must not cost the whole language
        with file.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
            for number, line in enumerate(lines, start=1):
                match = _LINE.match(line)
                if match is None:  # the scripts leave such lines for utterances without text
                    continue
                text = _unescaped(match[2] or "")
                if found.setdefault(match[1], text) != text:
                    raise XmgError(
                        f"{file}, line {number}: the id {printable(match[1])!r} was above with "
                        f"another text. fix: delete the line that is not what its wav says"
                    )
    except OSError as error:
        raise XmgError(f"cannot read {file}: {error.strerror or error}") from error
    return found


def _unescaped(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:  # some bytes were not UTF-8
        return ""
    return _ESCAPED.sub(r"\1", text).strip()


def _check_ids(root: Path, languages: Mapping[str, Mapping[str, str]]) -> None:
    """Raise XmgError where two languages share an id, which then pairs with either."""
    owner: dict[str, str] = {}
    for language, texts in languages.items():
        for name in texts:
            if owner.setdefault(name, language) != language:
                raise XmgError(
                    f"{root}: {owner[name]} and {language} share the utterance "
                    f"{printable(name)!r}. fix: move one of the two folders elsewhere"
                )


def _chapter(name: str) -> str:
    return sys.intern(_NUMBER.sub("", name))  # interned: many clips share a chapter


def _speech(root: Path, folders: Sequence[str], ids: Sequence[str], row: int) -> Path:
    return Path(root, folders[row], SPEECH, f"{ids[row]}.wav")
