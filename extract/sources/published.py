"""The published data sets: what they hold, where they are, and the error where one is missing."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from xmg.cache import XmgError
from xmg.extract.types import Modality


@dataclass(frozen=True, slots=True)
class Published:
    """One data set under the name of its layout."""

    title: str
    address: str
    shape: str  # completes "give the folder that holds ..."
    modalities: tuple[Modality, ...]


PUBLISHED: Final[Mapping[str, Published]] = MappingProxyType(
    {
        "esc50": Published(
            "ESC-50",
            "https://github.com/karolpiczak/ESC-50",
            "meta/esc50.csv and audio/1-100032-A-0.wav, ...",
            ("audio",),
        ),
        "cifar": Published(
            "CIFAR-10 or CIFAR-100",
            "https://www.cs.toronto.edu/~kriz/cifar.html",
            "cifar-10-batches-bin/, cifar-10-batches-py/, cifar-100-binary/ or cifar-100-python/ "
            "as unpacked",
            ("image",),
        ),
        "yummly28k": Published(
            "Yummly-28K (Min et al., IEEE Transactions on Multimedia 2017)",
            "http://123.57.42.89/Dataset_ict/Yummly-66K-28K/Yummly28K.zip",
            "metadata27638/meta00001.json, ... and images27638/img00001.jpg, ...",
            ("text", "image"),
        ),
        "wilderness": Published(
            "CMU Wilderness",
            "https://github.com/festvox/datasets-CMU_Wilderness",
            "a folder for each language, as bin/do_found fast_make_align leaves it: "
            "NANTTV/aligned/etc/txt.done.data and NANTTV/aligned/wav/",
            ("text", "audio"),
        ),
    }
)


def absent(layout: str, found: str) -> XmgError:
    """Return the error for a set that is not there: what was found, and where to get the set."""
    named = PUBLISHED[layout]
    return XmgError(
        f"{found}.\nfix: check the path, or get {named.title} at {named.address} "
        f"and give the folder that holds {named.shape}"
    )


def check_folder(layout: str, root: Path) -> None:
    """Raise XmgError, with where to get the set of `layout`, unless `root` is a folder."""
    if not root.exists():
        raise absent(layout, f"there is nothing at {root}")
    if not root.is_dir():
        raise absent(layout, f"{root} is a file, and layout {layout!r} is a folder")
