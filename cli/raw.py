"""Raw files to features, for commands that put a trained model to use."""

from pathlib import Path
from typing import TYPE_CHECKING

from xmg.cache.errors import XmgError
from xmg.cli.console import hints
from xmg.cli.extracting import encode

if TYPE_CHECKING:
    from xmg.cache import FeatureFile, FeatureSpec
    from xmg.extract.types import Encoder


class Raw:
    """Raw files to features, by the encoder that made the run's; loaded once, where needed."""

    def __init__(
        self,
        spec: "FeatureSpec",
        out: Path,
        overwrite: bool,
        encoder: str | None,
        weights: Path | None,
        device: str | None,
    ) -> None:
        self.spec, self.out, self.overwrite = spec, out, overwrite
        self.name, self.weights, self.device = encoder, weights, device
        self._encoder: Encoder | None = None

    def features(self, data: Path, name: str) -> "FeatureFile":
        """A feature file as it is; of other data what `xmg extract` would write.

        Named by the data too: a call with the wrong folder is not in the way of the right one.
        """
        from xmg.cache import FeatureFile

        if data.suffix in (".h5", ".hdf5") and not data.is_dir():
            return FeatureFile(data)
        from xmg.extract.spec import make_job

        path = self.out.with_name(f"{self.out.name}.features") / f"{name}-{data.resolve().stem}.h5"
        path.parent.mkdir(parents=True, exist_ok=True)
        job = make_job(data=data, encoder=self.name or self.spec.encoder, out=path)
        try:
            encode(job, self._load(), "update", False)
        except XmgError:
            if not self.overwrite:
                raise
            encode(job, self._load(), "overwrite", False)
        return FeatureFile(path)

    def _load(self) -> "Encoder":
        from xmg.extract.same_encoder import same_encoder

        if self._encoder is None:
            with hints.status(f"loading {self.spec.encoder}"):
                self._encoder = same_encoder(
                    self.spec, name=self.name, weights=self.weights, device=self.device
                )
        return self._encoder
