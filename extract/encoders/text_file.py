"""Read one text, given as itself or as a file."""

from pathlib import Path

from xmg.extract.types import Content, RejectError


def read_text(content: Content) -> str:
    """Return the text of a string or a UTF-8 file; raises RejectError where there is none."""
    if not isinstance(content, str | Path):
        raise RejectError(f"expected a text, got {type(content).__name__}")
    try:
        text = content if isinstance(content, str) else content.read_text("utf-8-sig")
    except OSError as error:
        raise RejectError(f"cannot open: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise RejectError(f"not UTF-8 text: {error.reason} at byte {error.start}") from error
    if not text.strip():
        raise RejectError("the text is empty")
    return text
