"""Figures: a plot as inline SVG, what it shows in words, and its numbers as a table."""

import hashlib
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup, escape

from xmg.engine.drawing import require_matplotlib
from xmg.engine.pages.render import plain
from xmg.engine.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

# After Okabe and Ito (2008), told apart with any colour vision; dark enough for letters on white.
COLOURS: Final = ("#0072b2", "#b84a00", "#00795a", "#a8487f", "#806600", "#000000", "#6b6b6b")
MARKERS: Final = "os^Dvp*"
WIDTH: Final = 5.2  # inches: of a phone and of a column of text
_LABEL: Final = 28  # letters of a name in a plot
_STYLE: Final[Any] = {  # its keys are literals to type checkers
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # dollars in names are dollars
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555",
    "axes.labelcolor": "#1b1b1b",
    "xtick.color": "#444",
    "ytick.color": "#444",
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot, how to read it, and its numbers."""

    title: str
    svg: Markup
    note: str
    table: Table


def check_drawing() -> None:
    """Raise XmgError where matplotlib is not installed."""
    require_matplotlib("reports", "report")


@contextmanager
def drawing(width: float, height: float) -> Iterator["Canvas"]:
    """A matplotlib figure of so many inches in the style of the pages.

    Raises XmgError as `check_drawing`.
    """
    check_drawing()
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that its own font lacks: browsers have them
        yield Canvas(figsize=(width, height), layout="constrained")


def to_svg(canvas: "Canvas", alt: str) -> Markup:
    """The SVG element of a figure, for use inside a page: called within `drawing`.

    alt: what a reader who cannot see the plot should know.

    Without what files need: prologue, metadata, name spaces, and ids that nothing refers to;
    the others become the figure's own, as a page has several.
    """
    import matplotlib

    buffer = io.StringIO()
    own = hashlib.sha256(alt.encode("utf-8", "replace")).hexdigest()[:8]
    matplotlib.rcParams["svg.hashsalt"] = own
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    canvas.savefig(buffer, format="svg", metadata=nothing)
    body = buffer.getvalue().partition("<svg")[2].partition(">")
    box = re.search(r'viewBox="[\d. ]+"', body[0])
    inner = re.sub(r"<style[^>]*>.*?</style>", "", body[2], count=1, flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', inner))

    def kept(found: re.Match[str]) -> str:
        """An id that is referred to, where it first stands: later ones are of equal shapes."""
        if found[1] not in used:
            return ""
        used.remove(found[1])
        return f' id="{own}{found[1]}"'

    inner = re.sub(r' id="([^"]+)"', kept, inner)
    inner = re.sub(r'(url\(|href=")#([^")]+)', rf"\1#{own}\2", inner)
    assert box
    inches = canvas.get_figwidth()
    # letters neither too small to be read nor larger than the text around them
    style = f"min-width:{61 * inches:.0f}px;max-width:{105 * inches:.0f}px"
    named = f'role="img" aria-label="{escape(plain(alt))}" style="{style}"'
    return Markup(f"<svg {named} {box[0]}>{inner}")


def label(name: str) -> str:
    """A name as a plot shows it: plain, and not long.

    A space goes before an underscore, as matplotlib hides what begins with one.
    """
    shown = " ".join(plain(name).split())
    shown = f" {shown}" if shown.startswith("_") else shown
    return shown if len(shown) <= _LABEL else shown[: _LABEL - 1] + "…"


def styles() -> Iterator[dict[str, Any]]:
    """Colour and marker of one line after the other; no two of the first 42 share both."""
    for i, colour in enumerate(cycle(COLOURS)):
        yield {"color": colour, "marker": MARKERS[(i + i // len(COLOURS)) % len(MARKERS)]}
