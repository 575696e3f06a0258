import re

import pytest

from xmg.cache import XmgError
from xmg.extract.sources import LAYOUTS, open_source
from xmg.extract.sources.published import PUBLISHED

MODALITY = {name: named.modalities[0] for name, named in PUBLISHED.items()}
ADDRESS = {
    "esc50": "ESC-50 at https://github.com/karolpiczak/ESC-50 ",
    "cifar": "CIFAR-10 or CIFAR-100 at https://www.cs.toronto.edu/~kriz/cifar.html ",
    "yummly28k": "http://123.57.42.89/Dataset_ict/Yummly-66K-28K/Yummly28K.zip ",
    "wilderness": "CMU Wilderness at https://github.com/festvox/datasets-CMU_Wilderness ",
}
SHAPE = {
    "esc50": "meta/esc50.csv and audio/",
    "cifar": "cifar-10-batches-bin/",
    "yummly28k": "metadata27638/meta00001.json",
    "wilderness": "NANTTV/aligned/etc/txt.done.data",
}


def fails_with_the_way_to_get_it(path, layout, found):
    with pytest.raises(XmgError, match=f"{re.escape(found)}.*\nfix: check the path") as error:
        open_source(path, MODALITY[layout], layout=layout)
    assert ADDRESS[layout] in str(error.value)
    assert SHAPE[layout] in str(error.value)


def test_every_published_set_is_a_layout():
    assert set(ADDRESS) == set(PUBLISHED) == set(LAYOUTS) - {"auto", "folder", "manifest"}


@pytest.mark.parametrize("layout", PUBLISHED)
def test_nothing_at_the_path(tmp_path, layout):
    path = tmp_path / "nowhere"
    fails_with_the_way_to_get_it(path, layout, f"there is nothing at {path}")


@pytest.mark.parametrize("layout", PUBLISHED)
def test_an_archive_that_was_not_unpacked(tmp_path, layout):
    archive = tmp_path / "data.zip"
    archive.touch()
    fails_with_the_way_to_get_it(archive, layout, f"{archive} is a file, and layout {layout!r}")


@pytest.mark.parametrize(
    ("layout", "found"),
    [
        ("esc50", "holds no meta/esc50.csv"),
        ("cifar", "holds no CIFAR batches"),
        ("yummly28k", "holds neither metadata27638/ nor images27638/"),
        ("wilderness", "holds aligned/etc/txt.done.data"),
    ],
)
def test_another_folder(tmp_path, layout, found):
    (tmp_path / "dog").mkdir()
    fails_with_the_way_to_get_it(tmp_path, layout, found)


def test_half_of_esc50(tmp_path):
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/esc50.csv").touch()
    fails_with_the_way_to_get_it(tmp_path, "esc50", "no folder audio/ beside it")


def test_the_layouts_are_named_where_none_is_guessed(tmp_path):
    (tmp_path / "dog").mkdir()
    with pytest.raises(XmgError, match=r"choose --layout: .*esc50, cifar, yummly28k, wilderness"):
        open_source(tmp_path, "text")
