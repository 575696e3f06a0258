import csv
import json
from pathlib import Path

import pytest

from xmg.cache import XmgError, decode
from xmg.extract.encoders import load_encoder
from xmg.extract.encoders.text_file import read_text
from xmg.extract.pipeline import extract
from xmg.extract.sources import open_manifest
from xmg.extract.types import RejectError, Sample


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_of_files(tmp_path):
    file = write(
        tmp_path / "clips.csv",
        "\ufeffid,path,label,recording\nx,a/1.wav,dog,r1\ny,/abs/2.wav,,r2\n",
    )
    source = open_manifest(file, "audio", allow_outside=True)
    assert list(source.samples) == [
        Sample("x", tmp_path / "a/1.wav", "dog"),
        Sample("y", Path("/abs/2.wav"), None),
    ]
    assert source.columns == {"recording": ["r1", "r2"]}
    assert source.name == "clips"


def test_tsv_without_ids_or_labels(tmp_path):
    file = write(tmp_path / "m.tsv", 'path\tnote\na.png\t"tab\there"\nb.png\tplain\n')
    source = open_manifest(file, "image")
    assert [(s.id, s.label) for s in source.samples] == [("a.png", None), ("b.png", None)]
    assert source.columns == {"note": ["tab\there", "plain"]}


def test_jsonl_of_texts(tmp_path):
    rows = [{"text": "ein Hünd\n", "label": 3}, {"text": "x", "extra": ["é"]}, {"text": None}]
    file = write(tmp_path / "m.jsonl", "\n\n".join(json.dumps(row) for row in rows))
    source = open_manifest(file, "text")
    assert list(source.samples) == [
        Sample("000000", "ein Hünd\n", "3"),
        Sample("000001", "x", None),
        Sample("000002", "", None),
    ]
    assert source.columns == {"extra": ["", '["é"]', ""]}


def test_empty_lines_do_not_count(tmp_path):
    """Above the header neither, which was said to have no fields."""
    file = write(tmp_path / "m.csv", "\ufeff\n\nid,text\n\na,x\n\n")
    assert list(open_manifest(file, "text").samples) == [Sample("a", "x", None)]
    for nothing in ("\n\n", "\n\nid,text\n\n"):
        with pytest.raises(XmgError, match="no rows below its header"):
            open_manifest(write(file, nothing), "text")
    with pytest.raises(XmgError, match="line 5: 3 fields, the header has 2"):
        open_manifest(write(file, "\n\nid,text\na,x\na,x,y\n"), "text")


def test_text_in_files(tmp_path):
    source = open_manifest(write(tmp_path / "m.csv", "path\nnotes/a.txt\n"), "text")
    assert list(source.samples) == [Sample("notes/a.txt", tmp_path / "notes/a.txt", None)]


def test_named_columns(tmp_path):
    file = write(tmp_path / "m.csv", "key,clip,kind,label\n7,a.wav,dog,ignored\n")
    source = open_manifest(
        file, "audio", id_column="key", content_column="clip", label_column="kind"
    )
    assert list(source.samples) == [Sample("7", tmp_path / "a.wav", "dog")]
    assert source.columns == {"label": ["ignored"]}


@pytest.fixture
def links(tmp_path):
    """data/ with a link out of it, one that stays inside, and one to a single file outside."""
    for name in ("data/own", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "elsewhere" / "a.wav").touch()
    (tmp_path / "data" / "out").symlink_to("../elsewhere")
    (tmp_path / "data" / "in").symlink_to("own")
    (tmp_path / "data" / "own" / "file.wav").symlink_to("../../elsewhere/a.wav")
    (tmp_path / "data" / "loop").symlink_to("loop")
    (tmp_path / "mounted").symlink_to("data")
    return tmp_path / "data"


@pytest.mark.parametrize(
    "path",
    ["../a.wav", "own/../../a.wav", "/etc/passwd", "out/a.wav", "out/../a.wav", "in/file.wav", "..",
     "own/file.wav", "none/../../a.wav", "out", "../data-too/a.wav"],
)  # fmt: skip
@pytest.mark.parametrize("modality", ["audio", "text"])
def test_paths_that_leave_the_folder(links, path, modality):
    file = write(links / "m.csv", f"id,path\n1,own/a.wav\n2,{path}\n")
    with pytest.raises(XmgError) as caught:
        open_manifest(file, modality)
    assert str(caught.value) == (
        f"{file}, row 2: {path!r} lies outside the manifest's folder. fix: move the manifest "
        "to a folder above all its files, or --allow-outside to trust it"
    )
    allowed = open_manifest(file, modality, allow_outside=True)
    assert allowed.samples[1].content == links / path


def test_paths_that_stay_inside(links, monkeypatch):
    inside = "a.wav ./a.wav own/../b.wav in/c.wav none/d.wav loop ..wav a/..b".split()
    inside += [f"{links}/own/e.wav", f"{links.parent}/mounted/f.wav"]
    write(links / "m.csv", "\n".join(["path", *inside]))
    for file in (links / "m.csv", links.parent / "mounted" / "m.csv"):  # a link to the folder
        source = open_manifest(file, "audio")
        assert [s.content for s in source.samples] == [file.parent / name for name in inside]
    monkeypatch.chdir(links)
    assert open_manifest(Path("m.csv"), "audio").samples[0].content == Path("a.wav")


def test_texts_are_no_paths(tmp_path):
    file = write(tmp_path / "m.csv", "text\n../etc/passwd\n")
    assert open_manifest(file, "text").samples[0].content == "../etc/passwd"


@pytest.mark.parametrize(
    "path", ["a\0/b.wav", "a\0", "\ud800/b.wav", "x" * 5000, "y" * 300 + "/a.wav"]
)
def test_names_that_no_file_has_are_rejected_when_read(tmp_path, path):
    rows = [{"id": "bad", "path": path}, {"id": "good", "path": "a.txt"}]
    file = write(tmp_path / "m.jsonl", "\n".join(map(json.dumps, rows)))
    write(tmp_path / "a.txt", "a text")
    made = extract(open_manifest(file, "text"), load_encoder("char-ngrams"), tmp_path / "a.h5")
    assert [name for name, _ in made.rejects] == ["bad"]
    assert decode(made.ids) == ["good"]


@pytest.mark.parametrize("option", ["id_column", "content_column", "label_column"])
def test_a_missing_column_lists_those_there_are(tmp_path, option):
    file = write(tmp_path / "m.csv", "path,category\na.wav,dog\n")
    with pytest.raises(XmgError, match=r"'categry'; did you mean 'category'.* path, category"):
        open_manifest(file, "audio", **{option: "categry"})


def test_no_content_column(tmp_path):
    file = write(tmp_path / "m.csv", "filepath,label\na.wav,dog\n")
    with pytest.raises(XmgError, match=r"filepath, label\.\nfix: --content-column filepath"):
        open_manifest(file, "audio")
    file = write(tmp_path / "m.csv", "id, path\na, a.wav\n")  # as it is to be typed
    with pytest.raises(XmgError, match=r"id,  path\.\nfix: --content-column ' path'"):
        open_manifest(file, "audio")
    file = write(tmp_path / "m.csv", "filename,caption,kind\na.png,a cat,cat\n")  # no guess
    with pytest.raises(XmgError, match=r"fix: --content-column and one of filename, caption, kind"):
        open_manifest(file, "text")


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("m.csv", "path,label\na.wav,dog,extra\n", "line 2: 3 fields, the header has 2"),
        (
            "m.csv",
            "path,label\n\na.wav,dog\nb.wav\n",
            "line 4: 1 field, the header has 2. fix: leave",
        ),
        ("m.csv", 'path,label\n"a\nb.wav"\n', "line 2: 1 field,"),
        ("m.csv", 'path\n"a"b.wav\n', "line 2: a quote .* fix: close it"),
        (
            "m.csv",
            'path\nc.wav\n"a.wav\n\n\n',
            "line 3: a quote .*unexpected end.* fix: close it",
        ),
        (
            "m.csv",
            "path;label\na.wav;a, b\n",
            "'path;label': its separator seems to be ';'. fix: save",
        ),
        ("m.tsv", "path,label\na.wav,dog\n", "its separator seems to be ','"),
        ("m.csv", "path,path\na,b\n", "names a column twice"),
        ("m.csv", "path,label\n", "no rows"),
        ("m.csv", "", "m.csv is empty. fix: "),
        ("m.jsonl", "", "m.jsonl is empty. fix: "),
        ("m.csv", "path\na.wav\na.wav\n", "rows 1 and 2 share the id 'a.wav'"),
        ("m.csv", "id,path\n,a.wav\n", "row 1 has an empty id"),
        ("m.jsonl", '{"path": "a"}\n{"path"\n', "line 2 is not JSON"),
        ("m.jsonl", "[1]\n", "line 1 is no JSON object"),
        ("m.jsonl", "{}\n{}\n", "names no column"),
        (
            "m.jsonl",
            '{"path": "a"}\n\n{"path": "b", "label": ["x"]}',
            r"line 3: 'label' is \['x'\]",
        ),
        ("m.jsonl", '{"path": "a", "id": {"x": 1}}', "line 1: 'id' is {'x': 1}. fix: one text"),
    ],
)
def test_malformed(tmp_path, name, text, reason):
    with pytest.raises(XmgError, match=reason):
        open_manifest(write(tmp_path / name, text), "audio")


def test_not_utf8(tmp_path):
    for code in ("latin-1", "utf-16"):
        (tmp_path / "m.csv").write_text("path\ncafé.wav\n", code)
        with pytest.raises(XmgError, match=r"cannot read .* as UTF-8: .* fix: save it as UTF-8"):
            open_manifest(tmp_path / "m.csv", "audio")


def test_names_of_content_are_no_names_of_rows(tmp_path):
    with pytest.raises(XmgError, match="fix: add a column text"):
        open_manifest(write(tmp_path / "m.csv", "id,label\n1,dog\n"), "text")
    with pytest.raises(XmgError, match="fix: --content-column words"):
        open_manifest(write(tmp_path / "n.csv", "key,words\n1,dog\n"), "text", id_column="key")


def test_texts_of_any_length(tmp_path):
    before = csv.field_size_limit()
    long, longest = "a b " * 50_000, "é" * (1 << 23) + "é"
    file = write(tmp_path / "m.csv", f"id,text\n1,{long}\n2,{longest}\n3,{longest[:-1]}\n")
    first, second, third = open_manifest(file, "text").samples
    assert read_text(first.content) == long and len(read_text(third.content)) == 1 << 23
    with pytest.raises(RejectError, match="larger than 16 MiB"):
        read_text(second.content)
    assert csv.field_size_limit() == before


def test_real_emoji_are_pairs(real):
    file = real("emoji/emoji.csv")
    images = open_manifest(file, "image", label_column="subcategory")
    texts = open_manifest(file, "text", label_column="subcategory")
    assert len(images.samples) == len(texts.samples) == 2364
    assert [s.id for s in images.samples] == [s.id for s in texts.samples]
    assert len({s.label for s in images.samples}) == 40
    assert all(isinstance(s.content, Path) and s.content.is_file() for s in images.samples)
    assert texts.samples[0].content == "copyright sign, copyright"
