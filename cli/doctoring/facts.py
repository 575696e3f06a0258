"""What trials of single packages told, as findings."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from xmg.cli.doctoring.finding import Finding
from xmg.cli.doctoring.probe import Outcome

_GB: Final = 1e9
_LITTLE_GPU: Final = 2e9  # bytes: below that not even a batch of ResNet-50 with its weights


def told(tried: Mapping[str, Outcome]) -> Iterator[Finding]:
    """Of HDF5, image and audio formats, WordNet: what lies inside packages that load."""
    for module, read in _READERS.items():
        if module in tried and tried[module].error is None:
            yield from read(tried[module].facts)


def _h5py(facts: Mapping[str, Any]) -> Iterator[Finding]:
    yield Finding("ok", "HDF5", str(facts.get("hdf5")))


def _soundfile(facts: Mapping[str, Any]) -> Iterator[Finding]:
    name, lacks = f"libsndfile {facts.get('libsndfile')}", facts.get("lacks")
    if lacks:
        what = f"{name} reads no {', '.join(lacks)}"
        yield Finding("warning", "audio files", what, "pip install --upgrade 'soundfile>=0.13'")
    else:
        yield Finding("ok", "audio files", name)


def _pillow(facts: Mapping[str, Any]) -> Iterator[Finding]:
    lacks = facts.get("lacks")
    if lacks:
        fix = "pip install --upgrade --force-reinstall pillow"
        yield Finding("warning", "image files", f"this Pillow reads no {', '.join(lacks)}", fix)


def _nltk(facts: Mapping[str, Any]) -> Iterator[Finding]:
    if facts.get("wordnet"):
        yield Finding("ok", "WordNet", "found by nltk")
    else:
        what = "nltk finds no WordNet, which xmg pair --by wordnet reads"
        fix = "python -m nltk.downloader wordnet, or xmg pair --wordnet FOLDER"
        yield Finding("warning", "WordNet", what, fix)


_READERS: Final = {"h5py": _h5py, "soundfile": _soundfile, "PIL": _pillow, "nltk": _nltk}


def devices(facts: Mapping[str, Any], has_driver: bool) -> Iterator[Finding]:
    """What torch's trial said of CUDA. has_driver: whether the system has an NVIDIA driver."""
    found = facts.get("devices", [])
    for i, device in enumerate(found):
        yield _device(f"cuda:{i}", device)
    if found:
        return
    reason = str(facts.get("reason", "")).partition("\n")[0].partition(". ")[0]
    if not facts.get("cuda") and has_driver:
        what = "an NVIDIA driver is here, and torch is built without CUDA: only the CPU is used"
        fix = "install torch, torchvision and torchaudio built for CUDA, all from one index"
        yield Finding("warning", "devices", what, fix)
    elif "too old" in reason:
        fix = "update the driver, or install torch, torchvision and torchaudio of an older CUDA"
        what = f"torch is built for CUDA {facts['cuda']}: {reason}"
        yield Finding("warning", "devices", what, fix)
    elif has_driver:
        what = f"an NVIDIA driver is here, and no device: {reason or 'torch sees none'}"
        fix = "check nvidia-smi, and CUDA_VISIBLE_DEVICES"
        yield Finding("warning", "devices", what, fix)
    else:
        yield Finding("ok", "devices", "no CUDA device; the CPU is used")


def _device(name: str, device: Mapping[str, Any]) -> Finding:
    free, total = device["free"] / _GB, device["total"] / _GB
    what = (
        f"{device['name']}, compute capability {device['capability']}, "
        f"{free:.1f} of {total:.1f} GB free"
    )
    if device["error"]:
        reason = device["error"].partition("\n")[0]
        return Finding("warning", name, f"{what}; it does not compute: {reason}", "--device cpu")
    if device["free"] < _LITTLE_GPU:
        return Finding(
            "warning", name, what, "end what else runs there (nvidia-smi), or --device cpu"
        )
    return Finding("ok", name, what)
