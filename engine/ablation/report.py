"""Write what an ablation found: a tidy file, tables, plots."""

from collections.abc import Sequence
from pathlib import Path

from xmg.engine.ablation.plots import plot
from xmg.engine.ablation.results import Finished, write_tidy
from xmg.engine.ablation.spec import Spec, label_of
from xmg.engine.ablation.tables import markdown
from xmg.engine.run import replace_text


def report(out: Path, title: str, found: Sequence[Finished], spec: Spec) -> list[Path]:
    """Write results.csv, tables.md and accuracy.svg/.png into `out`; returns them."""
    write_tidy(out / "results.csv", found)
    text = markdown(title, found, spec.shots, label_of(spec.reference))
    replace_text(out / "tables.md", text)
    plots = plot(out / "accuracy", found, spec.shots) if any(one.result for one in found) else []
    return [out / "results.csv", out / "tables.md", *plots]
