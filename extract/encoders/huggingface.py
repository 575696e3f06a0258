"""Load Hugging Face models by name or from a folder, and refuse half-loaded ones."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import transformers

from xmg.cache import XmgError

_logging: Any = transformers.utils.logging  # has no types


def source_of(name: str, weights: Path | str | None) -> str:
    """Return the folder `weights` where given, else `name`; raises XmgError for no folder."""
    if weights is None:
        return name
    if not Path(weights).is_dir():
        raise XmgError(
            f"no folder at {weights}. fix: --weights FOLDER, as save_pretrained or a download "
            f"from Hugging Face leaves it"
        )
    return str(weights)


def shown_name(name: str) -> str:
    """Return a Hugging Face name as it is, of a folder only the last part."""
    return Path(name).resolve().name if Path(name).is_dir() else name


def load_model(kind: Any, source: str, trust_remote_code: bool = False) -> Any:
    """Return `kind` (such as AutoModel) of `source` in float32, ready to be frozen.

    Safetensors are preferred, other weights read with weights_only; a model's own code runs only
    where trusted. A pooler that the file does not hold is left out. Raises XmgError where the
    model cannot be had, or its file lacks other tensors: those would be random.
    """
    with loading(source):
        model, report = pretrained(
            kind, source, trust_remote_code=trust_remote_code, output_loading_info=True
        )
    missing = sorted(report["missing_keys"])
    if missing and all(name.startswith("pooler.") for name in missing):
        model.pooler = None
    elif missing:
        raise XmgError(
            f"the weights of {source} lack {len(missing)} tensors of {type(model).__name__}, "
            f"such as {missing[0]}. fix: name a model of that kind"
        )
    return model.float().eval().requires_grad_(False)


def load_whole(
    reader: Any, kind: Any, name: str, weights: Path | str | None, trust_remote_code: bool = False
) -> tuple[Any, Any]:
    """Return what prepares a model's inputs, such as AutoTokenizer's, and the encoder itself.

    weights: a local folder to load in place of `name`. Raises XmgError as `load_model`.
    """
    source = source_of(name, weights)
    with loading(source):
        prepares = pretrained(reader, source, trust_remote_code=trust_remote_code)
    model = load_model(kind, source, trust_remote_code)
    return prepares, model.get_encoder() if model.config.is_encoder_decoder else model


def pretrained(kind: Any, source: str, **options: Any) -> Any:
    """Return kind.from_pretrained of the copy that this machine has, or else of the Hub.

    A copy is of one revision, and a node without a network would wait a minute for each file of it.
    """
    try:
        return kind.from_pretrained(source, local_files_only=True, **options)
    except (OSError, ValueError):  # there is none, or a part of one
        return kind.from_pretrained(source, **options)


@contextmanager
def loading(source: str) -> Iterator[None]:
    """Turn what can go wrong with names, networks and files into XmgError."""
    verbosity = _logging.get_verbosity()
    no_bar = Path(source).is_dir() and _logging.is_progress_bar_enabled()
    _logging.set_verbosity_error()  # unused heads are expected, not news
    if no_bar:  # only a download is worth one
        _logging.disable_progress_bar()
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        if "trust_remote_code" in str(error):
            raise XmgError(
                f"the Hugging Face model {source} brings code of its own, and none was run. "
                "fix: read it, then xmg extract with --trust-remote-code --modality text, or image "
                "or audio; other commands take the file of features"
            ) from error
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise XmgError(
            f"cannot load the Hugging Face model {source} ({reason}). fix: check the name, or "
            f"download the model where there is a network and name its folder"
        ) from error
    finally:
        _logging.set_verbosity(verbosity)
        if no_bar:
            _logging.enable_progress_bar()
