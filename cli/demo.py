"""xmg demo: the whole path on a real task that is made on the spot."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from xmg.cache.errors import XmgError
from xmg.cli.console import hints, progress_bar
from xmg.cli.evaluate import evaluate
from xmg.cli.extract import extract
from xmg.cli.meta_train import meta_train


def demo(
    folder: Annotated[Path, typer.Option(help="Where corpus, features and runs go.")] = Path(
        "xmg-demo"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the corpus and the first run.")] = 0,
    n_runs: Annotated[int, typer.Option(min=1, help="Runs with consecutive seeds.")] = 3,
) -> None:
    """Name the language of speech from 1, 5 or 10 clips, with labels borrowed from text.

    Makes 89 languages x 50 pairs of text (CLDR place names) and speech (eSpeak NG), then runs
    the commands that you would: extract, meta-train, evaluate on languages never seen.

    Example: xmg demo --folder languages --n-runs 1
    """
    began = time.monotonic()
    text, speech = _corpus(folder / "corpus", seed)
    text_features, speech_features = folder / "text.h5", folder / "speech.h5"
    _echo(f"xmg extract {text} --encoder char-ngrams -o {text_features}")
    extract([text], "char-ngrams", text_features)
    _echo(f"xmg extract {speech} --encoder logmel40-stats -o {speech_features}")
    extract([speech], "logmel40-stats", speech_features)
    runs = [folder / f"run-{seed + i}" for i in range(n_runs)]
    for i, run in enumerate(runs):
        _echo(f"xmg meta-train {text_features} {speech_features} --run {run} --seed {seed + i}")
        meta_train(text_features, speech_features, run, seed=seed + i)
    listed = " ".join(map(str, runs))
    _echo(f"xmg evaluate {listed} --shots 1,5,10")
    evaluate(runs, "1,5,10")
    _say_next(folder, runs, time.monotonic() - began)


def _corpus(folder: Path, seed: int) -> tuple[Path, Path]:
    try:
        from xmg.extract.sources.demo import make_corpus
    except ModuleNotFoundError as error:
        raise XmgError(
            f"the demo needs {error.name}, which is not installed. fix: pip install 'xmg[demo]'"
        ) from error
    with progress_bar("speak 89 languages") as update:
        return make_corpus(folder, seed=seed, progress=update)


def _echo(command: str) -> None:
    hints.print(f"\n$ {command}")


def _say_next(folder: Path, runs: Sequence[Path], seconds: float) -> None:
    typer.echo(f"run folder: {runs[0]} (the others beside it); all of it took {seconds:.0f} s")
    typer.echo(
        "next:\n"
        f"  listen to {folder / 'corpus' / 'speech'}, look at {runs[0] / 'metrics.jsonl'}\n"
        f"  xmg evaluate {runs[0]} --shots 1,2,5 --json\n"
        "  your own data: xmg extract --help, then xmg meta-train --help"
    )
