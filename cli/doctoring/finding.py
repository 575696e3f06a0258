"""One thing that the doctor found, and the command that mends it."""

from dataclasses import dataclass
from typing import Final, Literal

Status = Literal["ok", "warning", "problem"]
STATUSES: Final[tuple[Status, ...]] = ("ok", "warning", "problem")  # from good to bad


@dataclass(frozen=True, slots=True)
class Finding:
    """ok: works. warning: works, but less, slower or not for long. problem: stops xmg or an
    installed part of it.

    about: such as "torch" or "extra audio". fix: what to type or to do, "" where nothing is.
    """

    status: Status
    about: str
    what: str
    fix: str = ""


def worst(findings: list[Finding]) -> Status:
    """The gravest status among findings; "ok" of none."""
    return max((one.status for one in findings), key=STATUSES.index, default="ok")
