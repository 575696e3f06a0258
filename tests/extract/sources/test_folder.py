from pathlib import Path

import pytest

from xmg.cache import XmgError
from xmg.extract.sources import open_source
from xmg.extract.types import Sample


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def ids(root: Path) -> list[str]:
    return [s.id for s in open_source(root, "image").samples]


def test_lists_suffixes_recursively_in_order(tmp_path):
    touch(tmp_path, "dog/b.jpg", "dog/a.JPEG", "dog/deep/er/c.png", "cat/z.png")
    touch(tmp_path, "cat/notes.txt", "cat/.hidden.png", ".git/x.png", "cat/.cache/x.png", "cat/png")
    source = open_source(tmp_path, "image")
    assert list(source.samples) == [
        Sample("cat/z.png", tmp_path / "cat/z.png", "cat"),
        Sample("dog/a.JPEG", tmp_path / "dog/a.JPEG", "dog"),
        Sample("dog/b.jpg", tmp_path / "dog/b.jpg", "dog"),
        Sample("dog/deep/er/c.png", tmp_path / "dog/deep/er/c.png", "dog"),
    ]
    assert source.name == tmp_path.name
    assert source.samples[1:3] == list(source.samples)[1:3]
    assert source.samples[-1].id == "dog/deep/er/c.png"
    with pytest.raises(IndexError):
        source.samples[4]


def test_files_outside_any_class_are_unlabelled(tmp_path):
    touch(tmp_path, "a.png", "dog/b.png")
    assert [(s.id, s.label) for s in open_source(tmp_path, "image").samples] == [
        ("a.png", None),
        ("dog/b.png", "dog"),
    ]


def test_symlink_loops_end(tmp_path):
    touch(tmp_path, "data/dog/a.png", "data/cat/b.png")
    data = tmp_path / "data"
    (data / "dog/self").symlink_to(data / "dog")
    (data / "dog/root").symlink_to(data)
    (data / "dog/above").symlink_to(tmp_path)
    (data / "dog/cats").symlink_to(data / "cat")
    (data / "cat/dogs").symlink_to(data / "dog")
    (data / "cat/itself").symlink_to(data / "cat/itself")
    (data / "puppy").symlink_to(data / "dog")
    assert ids(data) == [
        "cat/b.png",
        "cat/dogs/a.png",
        "dog/a.png",
        "dog/cats/b.png",
        "puppy/a.png",
        "puppy/cats/b.png",
    ]


def test_a_name_that_is_not_utf8_gets_a_printable_id(tmp_path):
    folder = tmp_path / "dog"
    folder.mkdir()
    raw = bytes(folder) + b"/caf\xe9.png"
    Path(raw.decode("utf-8", "surrogateescape")).touch()
    (sample,) = open_source(tmp_path, "image").samples
    assert sample.id == "dog/caf\\xe9.png"
    assert isinstance(sample.content, Path)
    assert sample.content.exists()


def test_nothing_that_fits(tmp_path):
    touch(tmp_path, "dog/a.wav")
    with pytest.raises(XmgError, match=r"no image files .*\.jpeg.*--encoder.*esc50"):
        ids(tmp_path)


def test_splits_are_not_classes(tmp_path):
    touch(tmp_path, "train/dog/a.png", "test/dog/b.png")
    with pytest.raises(XmgError, match=r"are splits .test, train., not classes"):
        ids(tmp_path)


def test_real_photos(real):
    source = open_source(real("caltech101"), "image")
    labels = [s.label for s in source.samples]
    assert len(set(labels)) == 101
    assert max(labels.count(label) for label in set(labels)) == 60
    assert all(str(s.content).endswith(s.id) for s in source.samples)
