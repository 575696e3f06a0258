"""Read one text, given as itself or as a file."""

from pathlib import Path
from typing import Final

from xmg.extract.types import Content, RejectError

_LARGEST: Final = 16 << 20  # bytes


def read_text(content: Content) -> str:
    """Return the text of a string or a UTF-8 file.

    Raises RejectError where it is missing, empty, larger than 16 MiB, not UTF-8, or holds NUL.
    """
    if not isinstance(content, str | Path):
        raise RejectError(f"expected a text, got {type(content).__name__}")
    try:
        text = content if isinstance(content, str) else _read(content)
        n_bytes = len(text.encode())
    except OSError as error:
        raise RejectError(f"cannot open: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise RejectError(f"not UTF-8 text: {error.reason} at byte {error.start}") from error
    except UnicodeEncodeError as error:  # JSON can spell half a character
        raise RejectError(f"not a text: half a character at {error.start}") from error
    if n_bytes > _LARGEST:
        raise RejectError(f"larger than {_LARGEST >> 20} MiB")
    if "\0" in text:
        raise RejectError("not a text: it holds NUL; UTF-16 is to be converted to UTF-8")
    if not text.strip():
        raise RejectError("the text is empty")
    return text


def _read(file: Path) -> str:
    with file.open("rb") as stream:
        content = stream.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise RejectError(f"larger than {_LARGEST >> 20} MiB")
    return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
