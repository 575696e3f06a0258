"""xmg export."""

from pathlib import Path
from typing import Annotated

import typer

from xmg.cache.errors import XmgError
from xmg.cli.console import hints, say
from xmg.cli.escaping import shown
from xmg.cli.extracting import check_there
from xmg.cli.raw import Device, EncoderName, Loading, Raw, Weights, check_alike
from xmg.cli.unfinished import say_unfinished


def export(
    model: Annotated[
        Path, typer.Argument(help="A run folder; or with --onnx an exported model too.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The folder to write; with --onnx, a .onnx file.")
    ],
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Write a classifier, adapted to --labelled, as ONNX.")
    ] = False,
    labelled: Annotated[
        Path | None, typer.Option(help="With --onnx: a few labelled files, as of xmg predict.")
    ] = None,
    encoder: EncoderName = None,
    weights: Weights = None,
    device: Device = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Write a run as a folder that needs nothing else: safetensors, JSON, a model card.

    Example: xmg export runs/sounds -o sounds-model

    A classifier for other runtimes: xmg export runs/sounds --onnx --labelled labelled/ -o five.onnx
    """
    if onnx:
        if labelled is None:
            raise typer.BadParameter("--onnx writes a classifier; name its --labelled files")
        _onnx(model, labelled, out, Loading(encoder, weights, device), overwrite)
        return
    if any((labelled, encoder, weights, device)):
        raise typer.BadParameter("--labelled, --encoder, --weights and --device go with --onnx")
    from xmg.engine.predict.export import export_run
    from xmg.extract.encoders import PUBLISHED

    licences = {name: encoder.licence for name, encoder in PUBLISHED.items()}
    say_unfinished(model)
    with hints.status(f"evaluating {model} for its card"):
        export_run(model, out, licences=licences, overwrite=overwrite)
    say(f"{out}: " + ", ".join(sorted(path.name for path in out.iterdir())))
    hints.print(f"next: xmg predict {out} labelled/ unlabelled/ -o answers.csv")


def _onnx(model: Path, labelled: Path, out: Path, loading: Loading, overwrite: bool) -> None:
    from xmg.cache.outputs import check_free
    from xmg.engine.predict.classifier import CrossModalClassifier
    from xmg.engine.predict.model import load_model
    from xmg.engine.predict.onnx import write_onnx
    from xmg.engine.predict.table import labelled_rows

    if out.suffix != ".onnx":
        raise XmgError(f"{out} does not end in .onnx. fix: -o {out.with_suffix('.onnx')}")
    check_free([out], overwrite)
    check_there([labelled])
    say_unfinished(model)
    with hints.status(f"loading {model}"):
        loaded = load_model(model)
    file = Raw(loaded.made_by, out, overwrite, loading).features(labelled, "labelled")
    check_alike(loaded, file)
    x, names, _ = labelled_rows(file)
    with hints.status("adapting to the labels"):
        classifier = CrossModalClassifier(loaded).fit(x, names)
    difference = write_onnx(classifier, out, x)
    classes = ", ".join(shown(str(name)) for name in classifier.classes_)
    say(f"{out}: {classes}; onnxruntime agrees to {difference:.0e} in log-probability")
