"""xmg encoders."""

from importlib.util import find_spec
from typing import Final

import typer
from rich import box
from rich.console import Console
from rich.table import Table

_PACKAGES: Final = {
    "image": ("torchvision", "timm", "PIL"),
    "text": ("transformers",),
    "audio": ("soundfile", "soxr", "torchaudio"),
}
_ANY: Final = (
    ("hf:MODEL", "any Hugging Face model of images, text or audio, by name or folder"),
    ("timm:NAME", "any network of timm"),
    ("torchvision:NAME", "any classifier of torchvision"),
    ("module:function", "your own: a function that returns an xmg.extract.types.Encoder"),
)


def encoders() -> None:
    """List the frozen encoders: what they read, how wide features are, the weights' licence.

    Example: xmg encoders
    """
    from xmg.extract.encoders import PUBLISHED

    table = Table(box=box.SIMPLE_HEAD)
    for column in ("encoder", "modality", "width", "reads", "licence"):
        table.add_column(column, justify="right" if column == "width" else "left", no_wrap=True)
    for name, one in PUBLISHED.items():
        table.add_row(name, one.modality, str(one.dim), one.reads, one.licence)
    Console(soft_wrap=True).print(table)
    for name, what in _ANY:
        typer.echo(f"  {name:17} {what}")
    for extra, packages in _PACKAGES.items():
        if not all(find_spec(package) for package in packages):
            typer.echo(f"\nencoders of {extra} need: pip install 'xmg[{extra}]'")
