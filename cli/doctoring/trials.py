"""Try packages, one after the other, in a process that a broken one may take down.

`python -m xmg.cli.doctoring.trials MODULE...` writes a line of JSON before each trial,
{"begin": MODULE}, and one after it: {"end": MODULE, "facts": {...}}, or "error" in place of facts,
after which it stops: what a failed import leaves behind may break the next one. Packages are
imported by name, since no other module of the command line may hold torch or h5py.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final

Facts = dict[str, Any]


def _torch() -> Facts:
    """Add two numbers on each device, and tell what the devices are."""
    torch: Any = import_module("torch")
    torch.ones(2).add_(1)
    facts: Facts = {"version": torch.__version__, "cuda": torch.version.cuda, "devices": []}
    try:
        torch.cuda.init()
        for i in range(torch.cuda.device_count()):
            facts["devices"].append(_device(torch, i))
    except Exception as error:  # no driver, or too old a one
        facts["reason"] = str(error)
    return facts


def _device(torch: Any, i: int) -> Facts:
    major, minor = torch.cuda.get_device_capability(i)
    free, total = torch.cuda.mem_get_info(i)
    found: Facts = {"name": torch.cuda.get_device_name(i), "capability": f"{major}.{minor}"}
    found |= {"free": free, "total": total, "error": None}
    try:
        torch.ones(2, device=f"cuda:{i}").add_(1).cpu()
    except Exception as error:  # such as no kernel image for this device
        found["error"] = str(error)
    return found


def _torchvision() -> Facts:
    """Run an operator of torchvision's own, which a build for another torch does not have."""
    torch: Any = import_module("torch")
    torchvision: Any = import_module("torchvision")
    torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    return {}


def _torchaudio() -> Facts:
    torch: Any = import_module("torch")
    functional: Any = import_module("torchaudio.functional")
    functional.resample(torch.zeros(1, 64), 2, 1)
    return {}


def _transformers() -> Facts:
    """Import models: the package itself would load where these do not."""
    transformers: Any = import_module("transformers")
    for model in ("ASTModel", "AutoModel", "BertModel"):
        getattr(transformers, model)
    return {}


def _numba() -> Facts:
    """Compile a function, and say where compiled kernels are kept, if they are."""
    import numba

    from xmg.engine.kernels import kept_in

    numba.njit(lambda x: x + 1)(1)
    folder = kept_in()
    return {"cache": str(folder)} if folder else {}


def _h5py() -> Facts:
    h5py: Any = import_module("h5py")
    with h5py.File("trial.h5", "w", driver="core", backing_store=False) as file:
        file["rows"] = [1.0, 2.0]
    return {"hdf5": h5py.version.hdf5_version}


def _pillow() -> Facts:
    from PIL import features

    wanted = {"jpg": "JPEG", "webp": "WebP", "jpg_2000": "JPEG 2000", "avif": "AVIF"}
    known = {*features.get_supported_modules(), *features.get_supported_codecs()}
    return {"lacks": [name for feature, name in wanted.items() if feature not in known]}


def _soundfile() -> Facts:
    import soundfile

    lacks = {"WAV", "FLAC", "OGG", "MP3"} - set(soundfile.available_formats())
    return {"libsndfile": soundfile.__libsndfile_version__, "lacks": sorted(lacks)}


def _faiss() -> Facts:
    import faiss
    import numpy as np

    index = faiss.IndexFlatIP(2)
    index.add(np.eye(2, dtype=np.float32))
    index.search(np.eye(2, dtype=np.float32), 1)
    return {}


def _nltk() -> Facts:
    from xmg.cache.errors import XmgError
    from xmg.engine.mining.wordnet import open_wordnet

    import_module("nltk")
    try:
        open_wordnet(None)
    except XmgError as error:
        return {"wordnet": False, "reason": str(error)}
    return {"wordnet": True}


def _espeak() -> Facts:
    from xmg.extract.sources.espeak import Synthesizer

    Synthesizer()
    return {}


def _matplotlib() -> Facts:
    import matplotlib as mpl

    mpl.use("agg")
    import_module("matplotlib.pyplot")
    return {}


_TRIALS: Final[Mapping[str, Callable[[], Facts]]] = {
    "PIL": _pillow,
    "espeakng_loader": _espeak,
    "faiss": _faiss,
    "h5py": _h5py,
    "matplotlib": _matplotlib,
    "nltk": _nltk,
    "numba": _numba,
    "soundfile": _soundfile,
    "torch": _torch,
    "torchaudio": _torchaudio,
    "torchvision": _torchvision,
    "transformers": _transformers,
}
_INSIDE: Final = {  # what is used, where the package itself loads next to nothing
    "babel": "babel.core",
    "pyarrow": "pyarrow.parquet",
    "safetensors": "safetensors.torch",
    "scipy": "scipy.stats",
    "sklearn": "sklearn.cluster",
    "tensorboard": "torch.utils.tensorboard",
}


def attempt(module: str) -> Facts:
    """Use a package as xmg does; raises whatever it raises."""
    trial = _TRIALS.get(module)
    if trial:
        return trial()
    import_module(_INSIDE.get(module, module))
    return {}


def main(modules: list[str]) -> None:
    """Try each and report on stdout, where nothing else arrives."""
    report = os.dup(1)
    os.dup2(2, 1)  # packages may print

    def tell(**line: Any) -> None:
        os.write(report, json.dumps(line).encode() + b"\n")

    for module in modules:
        tell(begin=module)
        try:
            facts = attempt(module)
        except BaseException as error:  # even SystemExit
            tell(end=module, error=f"{type(error).__name__}: {error}")
            return
        tell(end=module, facts=facts)


if __name__ == "__main__":
    main(sys.argv[1:])
