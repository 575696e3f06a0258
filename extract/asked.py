"""One extraction as it was asked for, and what its output already holds of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from xmg.cache import FeatureFile, FeatureSpec, FeatureWriter, Listing, XmgError
from xmg.cache.identity import Contents, fingerprint
from xmg.cache.outputs import check_no_folder, check_replaceable, former_file
from xmg.cache.ranks import ALONE, Ranks
from xmg.cache.reuse import changes, refuse_others
from xmg.cache.write import Notify
from xmg.extract.contents import digests
from xmg.extract.sources.samples import Samples, printable
from xmg.extract.types import Encoder, Source

Existing = Literal["keep", "update", "overwrite"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be at `out`: features of `listing`, made as `spec` says."""

    out: Path
    spec: FeatureSpec
    listing: Listing
    dim: int
    sequences: bool
    dtype: str
    existing: Existing

    def former(self) -> tuple[FeatureFile | None, bool]:
        """Return the file whose rows serve, if there is one, and whether it is all that is wanted.

        Raises XmgError where `out` holds something else that `existing` does not give up.
        """
        check_replaceable(self.out)
        former = None if self.existing == "overwrite" else former_file(self.out)
        if former is None:
            return None, False
        if former.fingerprint == fingerprint(self.spec, self.listing, self.dtype):
            return former, not (self.existing == "update" and former.rejects)
        self._check_update(former)
        return former, False

    def writer(self, notify: Notify = lambda message: None) -> FeatureWriter:
        """Return a writer that goes on where an interrupted run was."""
        return FeatureWriter(
            self.out, self.spec, self.listing, self.dim, dtype=self.dtype,
            sequences=self.sequences, discard=self.existing == "overwrite", notify=notify,
        )  # fmt: skip

    def _check_update(self, former: FeatureFile) -> None:
        """Raise XmgError unless `former` may be brought up to date, as asked."""
        refuse_others(former, self.spec, self.dtype, "--overwrite, or another output")
        found = changes(former, self.listing)
        if self.existing != "update":
            update = "" if found.gone else "--update to encode just what is new, "  # it loses none
            raise XmgError(
                f"{former.path} holds other features: {found}.\n"
                f"fix: {update}--overwrite, or another output"
            )
        if found.gone:
            raise XmgError(
                f"{former.path} has {len(found.gone):,} inputs that are no longer listed, such as "
                f"{found.gone[0]!r}; --update loses none.\nfix: bring them back, or raise "
                "--limit; take the others with xmg cache select; --overwrite, or another output"
            )


def ask(
    source: Source,
    encoder: Encoder,
    out: Path,
    *,
    dtype: str,
    existing: Existing,
    n_workers: int,
    ranks: Ranks = ALONE,
) -> Asked:
    """List and digest the inputs, in n_workers threads of each process.

    Raises XmgError where `out` is a folder, or the processes list different data.
    """
    check_no_folder(out)
    contents = digests(source.samples, n_workers, ranks)
    listing, spec = _listing(source, contents), _spec(source, encoder)
    return Asked(out, spec, listing, encoder.dim, encoder.sequences, dtype, existing)


def _listing(source: Source, contents: Contents) -> Listing:
    samples = source.samples
    if isinstance(samples, Samples):  # which has the lists already
        return Listing(samples.ids, samples.labels, source.columns, contents)
    ids, labels = [s.id for s in samples], [s.label for s in samples]
    return Listing(ids, labels, source.columns, contents)


def _spec(source: Source, encoder: Encoder) -> FeatureSpec:
    """An encoder may list in `packages` the libraries whose versions change its numbers."""
    packages: Sequence[str] = getattr(encoder, "packages", ())
    return FeatureSpec(
        dataset=printable(source.name),
        encoder=encoder.name,
        weights_sha256=encoder.weights_sha256,
        preprocessing=dict(encoder.preprocessing),
        versions={name: version(name) for name in sorted({"numpy", "torch", *packages})},
    )
