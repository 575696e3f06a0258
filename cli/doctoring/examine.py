"""The whole examination, in the order in which it is told."""

from xmg.cli.doctoring.caches import caches
from xmg.cli.doctoring.facts import devices, told
from xmg.cli.doctoring.finding import Finding
from xmg.cli.doctoring.machine import has_driver, machine
from xmg.cli.doctoring.packages import check, wanted
from xmg.cli.doctoring.probe import Outcome


def examine() -> list[Finding]:
    """Look at everything; nothing that is broken raises."""
    asked = wanted()
    tried: dict[str, Outcome] = {}
    found = [_NOT_INSTALLED]
    if asked:
        found, tried = check(asked)
        found += told(tried)
    if "torch" in tried and tried["torch"].error is None:
        found += devices(tried["torch"].facts, has_driver())
    found += machine()
    kernels = tried["numba"].facts.get("cache") if "numba" in tried else None
    return [*found, *caches(kernels)]


_NOT_INSTALLED = Finding(
    "warning",
    "packages",
    "xmg runs from its sources and is not installed, so nothing says which packages it needs",
    "pip install -e '.[all]', in the folder that holds pyproject.toml",
)
