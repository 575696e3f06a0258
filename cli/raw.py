"""Raw files to features, for commands that put a trained model to use."""

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xmg.cache.errors import XmgError
from xmg.cli.console import hints
from xmg.cli.extracting import fill

if TYPE_CHECKING:
    from xmg.cache import FeatureFile, FeatureSpec
    from xmg.engine.predict.model import Model
    from xmg.extract.types import Encoder


EncoderName = Annotated[
    str | None, typer.Option("--encoder", "-e", help="What the run's encoder is called here.")
]
Weights = Annotated[Path | None, typer.Option(help="The weights file of the run's encoder.")]
Device = Annotated[
    str | None, typer.Option(help="A torch device to encode on; by default CUDA if present.")
]


@dataclass(frozen=True, slots=True)
class Loading:
    """How the encoder of files and texts is loaded: each None as the feature file tells."""

    name: str | None
    weights: Path | None
    device: str | None

    def encoder(self, spec: "FeatureSpec") -> "Encoder":
        """The encoder that made a feature file; raises XmgError as `same_encoder`."""
        from xmg.extract.same_encoder import same_encoder

        with hints.status(f"loading {spec.encoder}"):
            return same_encoder(spec, **asdict(self))


class Raw:
    """Raw files to features, by the encoder that made the run's; loaded once, where needed."""

    def __init__(self, spec: "FeatureSpec", out: Path, overwrite: bool, loading: Loading) -> None:
        self.spec, self.out, self.overwrite, self.loading = spec, out, overwrite, loading

    def features(self, data: Path, name: str) -> "FeatureFile":
        """A feature file as it is; of other data what `xmg extract` would write.

        Named by the data too: a call with the wrong folder is not in the way of the right one.
        """
        from xmg.cache import FeatureFile

        if data.suffix in (".h5", ".hdf5") and not data.is_dir():
            return FeatureFile(data)
        from xmg.extract.spec import make_job

        own = data.resolve().name if data.is_dir() else data.resolve().stem  # of day.1, day.2
        path = self.out.with_name(f"{self.out.name}.features") / f"{name}-{own}.h5"
        job = make_job(data=data, encoder=self.loading.name or self.spec.encoder, out=path)
        source = job.open(self._encoder.modality, False)
        try:
            fill(job, source, self._encoder, "update")
        except XmgError:
            if not self.overwrite:
                raise
            fill(job, source, self._encoder, "overwrite")
        return FeatureFile(path)

    @cached_property
    def _encoder(self) -> "Encoder":
        return self.loading.encoder(self.spec)


def check_alike(model: "Model", *files: "FeatureFile") -> None:
    """Raise XmgError as `check_features`, and say what differs in the last bits alone."""
    from xmg.engine.predict.model import check_features

    for file in files:
        if differs := check_features(model, file):
            hints.print(f"{file.path}, beside the run's features: {differs}")
