import csv
import os
from pathlib import Path

import pytest

from xmg.cache import XmgError
from xmg.extract.sources import open_source


def test_nothing_there(tmp_path):
    with pytest.raises(XmgError, match=r"nothing at .*nowhere"):
        open_source(tmp_path / "nowhere", "image")


def test_empty_folder(tmp_path):
    with pytest.raises(XmgError, match="is an empty folder"):
        open_source(tmp_path, "image")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"layout": "imagenet"}, "no layout 'imagenet'. fix: --layout one of auto, folder"),
        ({"layout": "cifar"}, "no CIFAR batches"),
        ({"layout": "manifest"}, "several manifests, or none"),
        ({"layout": "folder", "label_column": "x"}, "leave out --label-column"),
    ],
)
def test_what_does_not_fit(tmp_path, options, reason):
    (tmp_path / "dog").mkdir()
    with pytest.raises(XmgError, match=reason):
        open_source(tmp_path, "image", **options)


def test_unknown_modality(tmp_path):
    with pytest.raises(XmgError, match="no modality 'video'"):
        open_source(tmp_path, "video")


def test_a_file_that_is_no_manifest(tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(XmgError, match="is no manifest"):
        open_source(tmp_path / "a.png", "image")
    with pytest.raises(XmgError, match="is a file; this layout is a folder"):
        open_source(tmp_path / "a.png", "image", layout="folder")


def test_the_manifest_in_a_folder(tmp_path):
    for name in ("text", "speech"):
        (tmp_path / f"{name}.csv").write_text("id,text,path,label\n1,hello,a.wav,en\n")
    assert open_source(tmp_path, "text").samples[0].content == "hello"
    with pytest.raises(XmgError, match=r"several manifests, or none \(speech.csv, text.csv\)"):
        open_source(tmp_path, "audio")
    (tmp_path / "text.csv").unlink()
    assert open_source(tmp_path, "audio").samples[0].content == tmp_path / "a.wav"


def test_paths_outside_a_manifest_are_to_be_allowed(tmp_path):
    (tmp_path / "m.csv").write_text("path\n/data/a.wav\n")
    with pytest.raises(XmgError, match=r"outside the manifest's folder.* --allow-outside"):
        open_source(tmp_path, "audio")
    source = open_source(tmp_path, "audio", allow_outside=True)
    assert source.samples[0].content == Path("/data/a.wav")


def test_a_million_rows_stay_small(tmp_path):
    tracemalloc = pytest.importorskip("tracemalloc")
    n_rows = 100_000
    with (tmp_path / "m.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("path", "label"), *((f"{i:07d}.jpg", "dog") for i in range(n_rows))]
        )
    tracemalloc.start()
    source = open_source(tmp_path / "m.csv", "image")
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(source.samples) == n_rows
    assert size / n_rows < 300  # bytes; a Path alone takes more


def test_neither_file_nor_folder(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(XmgError, match=r"is neither file nor folder\. fix: give a folder or"):
            open_source(path, "image")
