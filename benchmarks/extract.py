"""`xmg extract` against its own encoder on inputs already decoded, and against a plain script.

    python benchmarks/extract.py --images FOLDER --audio FOLDER [speed|memory]

Pictures and recordings (16 kHz mono) are those in the folders; texts are the
docstrings of installed packages. All cores; medians of rounds in changing order, after a warm-up
round; ratios are of the same round. resnet18 has random weights, which cost the same. Freed memory
is kept for all, as the xmg command has it: the script alone would not think of it.
"""

import argparse
import ast
import copy
import os
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import h5py
import machine
import numpy as np
import scripts
import sklearn
import soundfile
import torch
import torchvision

from xmg.cache import FeatureFile
from xmg.extract.cores import cores
from xmg.extract.encoders import load_encoder
from xmg.extract.pipeline import encoders, extract
from xmg.extract.types import Content, Encoder, Features, Sample, Source

ROWS = {  # encoder and inputs
    "resnet18, JPEG": ("resnet18", "images"),
    "efficientnet-lite0, JPEG": ("efficientnet-lite0", "images"),
    "minilm, docstrings": ("minilm", "texts"),
    "yamnet, WAV": ("yamnet", "wav"),
    "yamnet, as it is": ("yamnet", "recordings"),
}


class Size(NamedTuple):
    """How much is measured; the tests run everything at TOY."""

    images: int = 512
    texts: int = 512
    recordings: int = 256
    rounds: int = 7
    simulated: int = 1_000_000


TOY = Size(3, 5, 2, 1, 2000)


def speed(images: Path, audio: Path, size: Size) -> Iterator[str]:
    """Inputs a second: the encoder alone, the pipeline, the script, and how far results differ."""
    recordings = _some(audio, (".wav", ".ogg", ".flac"), size.recordings)
    with TemporaryDirectory() as scratch:
        inputs = {
            "images": _some(images, (".jpg", ".png"), size.images),
            "texts": docstrings(size.texts),
            "recordings": recordings,
            "wav": [_as_wav(path, Path(scratch)) for path in recordings],
        }
        yield "| encoder, inputs | alone | `xmg extract` | share | script | ratio | difference |"
        yield "|---|---|---|---|---|---|---|"
        for title, (name, kind) in ROWS.items():
            yield f"| {title} {_speed(name, inputs[kind], size.rounds)}"


def _speed(name: str, contents: Sequence[Content], rounds: int) -> str:
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        encoder: Any = _encoder(name, folder)
        n = len(contents)
        samples = [Sample(str(i), content) for i, content in enumerate(contents)]
        plain = scripts.script(encoder, _network(encoder, folder), contents, cores())
        ready = [encoder.decode(content) for content in contents]
        batches = [ready[i : i + encoder.batch_size] for i in range(0, n, encoder.batch_size)]

        def pipeline(r: int) -> float:
            out = folder / f"{r}.h5"
            return n / machine.seconds(
                lambda: extract(Source(name, samples), encoder, out, dtype="float32")
            )

        figures = machine.measured(
            rounds,
            {
                "alone": lambda r: n / machine.seconds(lambda: _alone(encoder, batches)),
                "pipeline": pipeline,
                "script": lambda r: n / machine.seconds(lambda: plain(folder / "script.h5")),
            },
        )
        with h5py.File(folder / "script.h5") as file:
            difference = _difference(FeatureFile(folder / "0.h5").take(range(n)), file["features"])
    alone, ours, script = (median(figures[key]) for key in ("alone", "pipeline", "script"))
    of_it = _ratio(figures["pipeline"], figures["alone"])
    ratio = _ratio(figures["pipeline"], figures["script"])
    return (
        f"| {alone:,.1f} | {ours:,.1f} | {of_it:.2f} | {script:,.1f} | {ratio:.2f} "
        f"| {difference:.1e} |"
    )


def _alone(encoder: Encoder, batches: Sequence[Sequence[Any]]) -> None:
    """Encode batches as the pipeline does, and nothing else."""
    with encoders(encoder) as threads:
        list(threads.map(encoder.encode, batches))


def _ratio(left: Sequence[float], right: Sequence[float]) -> float:
    return median(a / b for a, b in zip(left, right, strict=True))


def _difference(left: Any, right: Any) -> float:
    """Largest difference of a feature, as a part of the largest feature."""
    a, b = (np.asarray(x, np.float64) for x in (left, right))
    return float(np.abs(a - b).max() / np.abs(b).max())


def _encoder(name: str, folder: Path) -> Encoder:
    if name != "resnet18":
        return load_encoder(name)
    weights = folder / "resnet18.pth"
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18().state_dict(), weights)
    return load_encoder(name, weights=weights)


def _network(encoder: Any, folder: Path) -> torch.nn.Module:
    """The network as a script would have it."""
    if encoder.name == "resnet18":  # whose batch norms the encoder has folded
        model = torchvision.models.resnet18()
        model.load_state_dict(torch.load(folder / "resnet18.pth", weights_only=True))
        model.fc = torch.nn.Identity()
        return model.eval()
    whole: torch.nn.Module = copy.deepcopy(encoder.model)
    return whole.to(memory_format=torch.contiguous_format)


def _some(folder: Path, suffixes: Sequence[str], n: int) -> list[Path]:
    """n files in random order, as a data set is listed by class but may as well not be."""
    found = sorted(path for path in folder.rglob("*") if path.suffix in suffixes)
    if len(found) < n:
        raise SystemExit(f"{folder} holds {len(found)} files of {suffixes}, not {n}")
    return random.Random(0).sample(found, n)


def _as_wav(path: Path, folder: Path) -> Path:
    samples, rate = soundfile.read(path)
    out = folder / f"{path.stem}.wav"
    soundfile.write(out, samples, rate)
    return out


def docstrings(n: int) -> list[str]:
    """Docstrings of libraries installed here, from one word to many pages."""
    found: set[str] = set()
    for module in (np, sklearn, torch):
        for path in sorted(Path(module.__path__[0]).rglob("*.py")):
            nodes = ast.walk(ast.parse(path.read_text("utf-8", "ignore")))
            kinds = ast.FunctionDef | ast.ClassDef
            found.update(ast.get_docstring(node) or "" for node in nodes if isinstance(node, kinds))
            if len(found) > 4 * n:
                return random.Random(0).sample(sorted(text for text in found if text.strip()), n)
    raise SystemExit(f"there are only {len(found)} docstrings here")


class Simulated(Sequence[Sample]):
    """Samples that are made when they are asked for."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: Any) -> Any:
        if not 0 <= i < self.n:
            raise IndexError(i)
        return Sample(str(i), str(i))


class Cheap:
    """Sixteen floats of a text, so that only the pipeline costs."""

    name, modality, dim, sequences, batch_size = "cheap", "text", 16, False, 256
    weights_sha256 = ""
    preprocessing: Mapping[str, Any] = {}

    def decode(self, content: Content) -> Features:
        return np.full(self.dim, float(str(content)) % 1000, np.float32)

    def encode(self, batch: Sequence[Features]) -> Features:
        return np.stack(batch)


def memory(size: Size) -> Iterator[str]:
    """Memory of this process while simulated inputs stream through, in MB."""
    seen: list[tuple[int, int]] = []
    with TemporaryDirectory() as scratch:
        source = Source("simulated", Simulated(size.simulated))
        step = max(size.simulated // 10, Cheap.batch_size)

        def progress(done: int, n: int) -> None:
            if done // step > len(seen):
                seen.append((done, resident()))

        took = machine.seconds(
            lambda: extract(source, Cheap(), Path(scratch) / "out.h5", progress=progress)
        )
    yield f"{size.simulated:,} inputs in {took:.0f} s"
    for done, n_bytes in seen:
        yield f"{done:>12,} inputs: {n_bytes / 2**20:,.0f} MB"


def resident() -> int:
    """Bytes of memory that belong to this process alone, without files it has mapped."""
    fields = Path("/proc/self/statm").read_text().split()
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("section", nargs="?", choices=("speed", "memory"), default="speed")
    parser.add_argument("--images", type=Path, help="folder of pictures")
    parser.add_argument("--audio", type=Path, help="folder of recordings")
    chosen = parser.parse_args()
    if not os.environ.keys() >= machine.KEEP.keys():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | machine.KEEP)
    print(machine.about(), flush=True)
    torch.set_num_threads(cores())
    if chosen.section == "speed" and not (chosen.images and chosen.audio):
        parser.error("speed needs --images and --audio")
    lines = (
        speed(chosen.images, chosen.audio, Size()) if chosen.section == "speed" else memory(Size())
    )
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
