"""Data sets to extract as a file that a person can read, and one of them as a value."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
)

from xmg.cache import XmgError
from xmg.cache.names import closest
from xmg.cache.outputs import required
from xmg.cache.toml import read_toml
from xmg.cache.write import real_path
from xmg.extract.encoders import check_encoder, load_encoder
from xmg.extract.sources import LAYOUTS, open_source
from xmg.extract.sources.combined import combine
from xmg.extract.sources.limited import limit
from xmg.extract.types import Encoder, Modality, Source
from xmg.extract.wording import in_words


def _named(path: Any) -> Any:
    """Refuse what no file is called; "" would be the spec's own folder."""
    if path == "":
        raise ValueError("is empty. fix: name a file or folder")
    if "\0" in str(path):
        raise ValueError(f"is {path!r}, which no file can be called. fix: leave out the NUL")
    return path


def _beside(path: Path, info: ValidationInfo) -> Path:
    """A path as seen from the spec's folder, the context of the validation."""
    return Path(info.context or "") / path


def _model_beside(name: str, info: ValidationInfo) -> str:
    """`hf:FOLDER` as seen from the spec's folder; other names stay."""
    folder = Path(info.context or "") / name.removeprefix("hf:")
    return f"hf:{folder}" if name.startswith("hf:") and name != "hf:" and folder.is_dir() else name


_Path = Annotated[Path, BeforeValidator(_named), AfterValidator(_beside)]
_Paths = Annotated[
    list[_Path],
    Field(min_length=1),
    BeforeValidator(lambda value: value if isinstance(value, list) else [value]),
]
_Count = Annotated[int, Field(ge=1, strict=True)]


class Job(BaseModel):
    """One data set and what is to become of it: a table of a spec, or a command line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: _Paths  # several become one file
    encoder: Annotated[str, AfterValidator(_model_beside)]
    out: _Path
    layout: str = "auto"
    id_column: str | None = None
    content_column: str | None = None
    label_column: str | None = None
    weights: _Path | None = None
    pooling: str | None = None
    layers: str | None = None
    modality: Modality | None = None
    device: str | None = None
    dtype: Literal["float16", "float32"] = "float16"
    workers: _Count | None = None
    limit: _Count | None = None

    def load(self, trust_remote_code: bool) -> Encoder:
        """Load the encoder. Trust is no key: files may come from strangers."""
        return load_encoder(
            self.encoder,
            weights=self.weights,
            pooling=self.pooling,
            layers=self.layers,
            modality=self.modality,
            device=self.device,
            trust_remote_code=trust_remote_code,
        )

    def open(self, modality: Modality, allow_outside: bool = False) -> Source:
        """List the inputs. Raises XmgError where there are none, or of another modality."""
        sources = [
            open_source(
                path,
                modality,
                layout=self.layout,
                id_column=self.id_column,
                content_column=self.content_column,
                label_column=self.label_column,
                allow_outside=allow_outside,
            )
            for path in self.data
        ]
        source = combine(sources)
        return limit(source, self.limit) if self.limit else source


class Spec(BaseModel):
    """What a spec file holds.

    [[extract]]
    data = "esc50"                    # beside the file, or several: ["caltech101", "cifar10"]
    encoder = "logmel40-stats"
    out = "sounds.h5"
    [[extract]]                       # the next one; other keys are those of Job
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    extract: Annotated[list[Job], Field(min_length=1)]


def make_job(**values: Any) -> Job:
    """Return the job of a command line; raises XmgError for a value that it cannot have."""
    try:
        return Job.model_validate(values)
    except ValidationError as error:
        raise XmgError(in_words(error, list(Job.model_fields))) from None


def read_spec(path: Path, **instead: Any) -> list[Job]:
    """Read a spec; `instead` holds values that stand in for those of every table.

    Paths are beside the file. Raises XmgError naming the table and key of what is wrong: an
    unknown key, encoder or layout, data that is not there, two tables with one output.
    """
    document = read_toml(path, "spec")
    try:
        spec = Spec.model_validate(document, context=path.parent)
    except ValidationError as error:
        raise XmgError(f"{path}: {in_words(error, list(Job.model_fields))}") from None
    jobs = [job.model_copy(update=instead) for job in spec.extract]
    _check(path, jobs)
    return jobs


def _check(path: Path, jobs: list[Job]) -> None:
    """Raise XmgError for what would else come to light when the table has its turn."""
    written: dict[Path, int] = {}
    for number, job in enumerate(jobs, 1):
        try:
            _check_job(job)
        except XmgError as error:
            raise XmgError(f"{path}: table {number}: {error}") from None
        first = written.setdefault(real_path(job.out), number)
        if first != number:
            raise XmgError(
                f"{path}: tables {first} and {number} both write {job.out}. "
                "fix: give each an out of its own"
            )


def _check_job(job: Job) -> None:
    check_encoder(job.encoder)
    if job.layout not in LAYOUTS:
        raise XmgError(
            f"there is no layout {job.layout!r}{closest(job.layout, LAYOUTS)}. "
            f"fix: one of {', '.join(LAYOUTS)}"
        )
    for path in (*job.data, *([job.weights] if job.weights else [])):
        required(path, "a path from the spec's folder")
