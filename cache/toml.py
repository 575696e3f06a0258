"""TOML files, as editors save them."""

import tomllib
from pathlib import Path
from typing import Any

from xmg.cache.errors import XmgError


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Parse a file in UTF-8, with a byte order mark or without; what: such as `spec`.

    Raises XmgError where it is missing, in another encoding, or no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise XmgError(f"no {what} at {path}. fix: check the path") from None
    except UnicodeDecodeError:
        reason = "it is not in UTF-8. fix: save it as UTF-8"
    except (OSError, ValueError, RecursionError) as error:
        reason = f"{error}. fix: put that right"
    raise XmgError(f"{path} is not a readable TOML file: {reason}")
