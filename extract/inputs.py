"""The inputs behind a feature file, found again by their ids: small, to be shown."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

from xmg.cache import FeatureFile, XmgError, decode
from xmg.extract.encoders import OF_IMAGES, PUBLISHED
from xmg.extract.sources.samples import SUFFIXES
from xmg.extract.spec import Job, make_job, read_spec
from xmg.extract.types import Content, Modality, RejectError, Source

_SIDE: Final = 240  # pixels of an image's longest side
_RATE: Final = 16_000  # Hz
_SECONDS: Final = 8
_LETTERS: Final = 600
_FEW: Final = 20


@dataclass(frozen=True, slots=True)
class Inputs:
    """Listed inputs and which of them an id means. n_rows: rows of the feature file."""

    modality: Modality
    source: Source
    places: dict[str, int]  # of ids that the feature file has too
    n_rows: int

    def preview(self, name: str) -> str:
        """The input of an id, small: see `preview`. Raises RejectError where it cannot be read."""
        if name not in self.places:
            raise RejectError("not among the data that were named")
        return preview(self.source.samples[self.places[name]].content, self.modality)


def inputs_of(file: FeatureFile, paths: Sequence[Path], allow_outside: bool = False) -> Inputs:
    """List the data that a feature file was made of, as `xmg extract` lists them.

    paths: folders or manifests, or one spec of `xmg extract`, whose table for this file counts.
    Raises XmgError where they cannot be listed, or hold none of the file's ids.
    """
    job = _job(file, paths)
    ids = set(decode(file.ids))
    found: list[Inputs] = []
    errors: list[XmgError] = []
    for modality in modalities(job.encoder):
        try:
            source = job.open(modality, allow_outside)
        except XmgError as error:
            errors.append(error)
            continue
        places = {s.id: i for i, s in enumerate(source.samples) if s.id in ids}
        found.append(Inputs(modality, source, places, len(ids)))
    if not found:
        raise errors[0]
    best = max(found, key=lambda one: (len(one.places), _fitting(one)))
    if not best.places:
        raise XmgError(_none_found(file, best, paths))
    return best


def _job(file: FeatureFile, paths: Sequence[Path]) -> Job:
    """How the data are to be listed: a spec knows columns and layout."""
    if len(paths) != 1 or paths[0].suffix != ".toml" or paths[0].is_dir():
        return make_job(data=list(paths), encoder=file.encoder, out=file.path)
    jobs = read_spec(paths[0])
    mine = [job for job in jobs if job.out.resolve() == file.path.resolve()]
    if len(jobs) != 1 and not mine:
        raise XmgError(
            f"{paths[0]} has no table whose out is {file.path}. fix: name the spec that the file "
            "was extracted with, or its data"
        )
    return (mine or jobs)[0]


def modalities(encoder: str) -> list[Modality]:
    """The modality of an encoder's name, or all where that does not tell."""
    if encoder in PUBLISHED:
        return [PUBLISHED[encoder].modality]
    if encoder.startswith(OF_IMAGES):
        return ["image"]
    return list(get_args(Modality))


def _fitting(inputs: Inputs) -> int:
    """How many of a few contents are named like files of the modality, where several list alike."""
    few = (inputs.source.samples[i].content for i in list(inputs.places.values())[:_FEW])
    suffixes = SUFFIXES[inputs.modality]
    return sum(isinstance(c, Path) and c.suffix.lower() in suffixes for c in few)


def _none_found(file: FeatureFile, inputs: Inputs, paths: Sequence[Path]) -> str:
    theirs = inputs.source.samples[0].id if len(inputs.source.samples) else "nothing"
    named = " ".join(map(str, paths))
    return (
        f"{file.path} has ids such as {decode(file.ids[:1])[0]!r}, and {named} such as {theirs!r}: "
        "none is in both. fix: name the data just as xmg extract was told, all inputs of the file "
        "in one go, or the spec (.toml) it was told"
    )


def preview(content: Content, modality: Modality) -> str:
    """A text (its first letters), or a data: URI: JPEG of 240 pixels, MP3 of 8 s at 16 kHz.

    Pictures and sounds are decoded and encoded anew, so that nothing of a file itself is passed
    on. Raises RejectError where the content cannot be read, and XmgError where a package is
    missing.
    """
    try:
        return {"image": _image, "audio": _audio, "text": _text}[modality](content)
    except ModuleNotFoundError as error:
        raise XmgError(
            f"to show {modality} inputs, {error.name} is needed. fix: pip install 'xmg[report]'"
        ) from None


def _image(content: Content) -> str:
    from xmg.extract.encoders.image_file import middle, read_image

    image, buffer = middle(read_image(content)), io.BytesIO()
    image.thumbnail((_SIDE, _SIDE))
    image.save(buffer, "JPEG", quality=82)
    return _uri("image/jpeg", buffer)


def _audio(content: Content) -> str:
    import soundfile

    from xmg.extract.encoders.audio_file import read_audio

    samples, buffer = read_audio(content, _RATE)[: _SECONDS * _RATE], io.BytesIO()
    soundfile.write(buffer, samples.clip(-1, 1), _RATE, format="MP3")
    return _uri("audio/mpeg", buffer)


def _text(content: Content) -> str:
    from xmg.extract.encoders.text_file import read_text

    text = read_text(content).strip()
    return text if len(text) <= _LETTERS else text[:_LETTERS] + " …"


def _uri(kind: str, buffer: io.BytesIO) -> str:
    return f"data:{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
