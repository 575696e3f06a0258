"""xmg cache as a person types it: data on stdout, hints on stderr, one clear sentence."""

import json
import subprocess
import sys

import numpy as np
import pytest
import synthetic

from xmg.cache import FeatureFile, FeatureWriter, Listing, Reject, decode

NAMES = ["dog", "كلب", "कुत्ता", "狗", "[bold]\U0001f415[/bold]", "e\u0301te\u0301"]


@pytest.fixture
def cache(xmg):
    """Run `xmg cache ...` in this process; returns (exit status, stdout, stderr)."""
    return lambda *words: xmg("cache", *words)


@pytest.fixture
def file(tmp_path):
    """Rows of six classes and of none, two columns, a reject; in a folder with a space."""
    (tmp_path / "a folder").mkdir()
    labels = [NAMES[i % 7] if i % 7 < 6 else None for i in range(40)]
    listing = Listing(
        [f"狗 {i}" for i in range(40)],
        labels,
        {"speaker": ["Åsa"] * 40, "fold": [str(i % 5) for i in range(40)]},
    )
    path = tmp_path / "a folder" / "a.h5"
    with FeatureWriter(path, synthetic.SPEC, listing, 3) as writer:
        writer.put(0, np.ones((39, 3)) * np.arange(39)[:, None])
        writer.put(39, [Reject("no sound")])
    return FeatureFile(path)


def test_info(cache, file):
    status, out, err = cache("info", file.path)
    assert (status, err) == (0, "")
    for part in ("toy", "39 rows x 3 float16", "speaker", "scale", file.fingerprint, "no sound"):
        assert part in out
    assert "[bold]\U0001f415[/bold]" in out and "6 classes" in out
    status, out, _ = cache("info", file.path, "--json")
    found = json.loads(out)
    assert status == 0 and found["fingerprint"] == file.fingerprint
    sizes = {name: 6 if i < 4 else 5 for i, name in enumerate(NAMES)}
    assert list(found["classes"].items()) == sorted(sizes.items(), key=lambda kv: (-kv[1], kv[0]))
    assert found["unlabelled"] == 5 and found["columns"] == ["fold", "speaker"]
    assert found["rejects"] == {"狗 39": "no sound"} and found["sequences"] is None


def test_info_of_sequences_and_of_many_classes(cache, tmp_path):
    parts = [np.ones((1 + i % 9, 2)) for i in range(60)]
    labels = [f"class{min(i, 29):02d}" for i in range(60)]
    path = synthetic.write(tmp_path / "s.h5", parts, labels, sequences=True).path
    status, out, err = cache("info", path)
    assert status == 0 and "60 sequences x 2 float32" in out
    assert "each 1 to 9, median 5" in out and "... 10 more" in out and "--json" in err
    assert out.index("class29") < out.index("class00") and "class28" not in out
    found = json.loads(cache("info", path, "--json")[1])
    assert len(found["classes"]) == 30 and next(iter(found["classes"])) == "class29"
    assert found["sequences"]["frames"] == sum(map(len, parts))


def test_info_for_machines_outlives_any_encoding(cache, file, tmp_path):
    path = file.path.rename(tmp_path / "собака.h5")
    _, out, _ = cache("info", path, "--json")
    assert out.isascii() and json.loads(out)["path"] == str(path)


def test_info_cannot_steer_the_terminal(cache, tmp_path):
    path = synthetic.write(tmp_path / "a.h5", np.ones((1, 2)), ["\x1b[2Jdog\x07\u202e"]).path
    out = cache("info", path)[1]
    assert "\x1b[2J" not in out and "\\x1b[2Jdog\\x07\\u202e" in out


def test_verify_goes_on_after_a_damaged_file(cache, file, tmp_path):
    rows = np.random.default_rng(0).normal(size=(3000, 4))
    other = synthetic.write(tmp_path / "b.h5", rows, ["a"] * 3000)
    content = bytearray(other.path.read_bytes())
    content[other.extents["features"][0] + 1500 * 16] ^= 1
    (tmp_path / "bit.h5").write_bytes(content)
    (tmp_path / "head.h5").write_bytes(b"\0" * 99 + content[99:])
    (tmp_path / "cut.h5").write_bytes(content[:9000])
    names = [tmp_path / f"{name}.h5" for name in ("bit", "head", "cut", "none")]
    status, out, err = cache("verify", *names, file.path)
    lines = out.splitlines()
    assert status == 1 and "4 of 5 damaged" in err
    assert lines[0] == (
        f"{names[0]}: damaged: features, rows 1,024 to 2,047 (ids 'id01024' to 'id02047')"
    )
    assert lines[1].startswith(f"{names[1]}: damaged: ") and "cut.h5" in lines[2]
    assert "no feature file at" in lines[3] and lines[4] == f"{file.path}: whole"
    assert cache("verify", file.path, other.path) == (
        0, f"{file.path}: whole\n{other.path}: whole\n", "",
    )  # fmt: skip


def test_verify_names_the_ids_of_damaged_frames(cache, tmp_path):
    parts = [np.ones((400, 2))] * 9
    file = synthetic.write(tmp_path / "s.h5", parts, ["a"] * 9, sequences=True)
    content = bytearray(file.path.read_bytes())
    content[file.extents["frames"][0] + 1030 * 8] ^= 1
    content[file.extents["classes"][0]] ^= 1
    file.path.write_bytes(content)
    status, out, _ = cache("verify", file.path)
    assert status == 1 and "frames, rows 1,024 to 2,047 (ids 'id00002' to 'id00005')" in out
    assert out.splitlines()[0].endswith("damaged: classes, rows 0 to 0")


def test_select_then_merge(cache, file, tmp_path):
    (tmp_path / "classes.txt").write_bytes("\ufeffكلب\r\n\r\n狗\r\n".encode())
    one, two, both = (tmp_path / f"{name}.h5" for name in ("one", "two", "both"))
    classes = ("--classes", tmp_path / "classes.txt")
    status, out, _ = cache("select", file.path, "--class", NAMES[2], *classes, "-o", one)
    assert status == 0 and "18 rows x 3, 3 classes" in out
    ids = [f"狗 {i}" for i in range(39) if i % 7 not in (1, 2, 3)]
    (tmp_path / "ids.txt").write_text("\n".join([*ids, "狗 39"]), encoding="utf-8")
    assert cache("select", file.path, "--ids", tmp_path / "ids.txt", "-o", two)[0] == 0
    status, out, _ = cache("merge", one, two, "-o", both)
    assert status == 0 and "39 rows x 3, 6 classes" in out
    whole = FeatureFile(both)
    assert sorted(decode(whole.ids)) == sorted(decode(file.ids)) and whole.rejects == file.rejects
    status, _, err = cache("merge", one, two, "-o", both)
    assert status == 0 and "nothing to do" in err
    status, _, err = cache("merge", two, one, "-o", both)
    assert status == 1 and "--overwrite" in err
    assert cache("merge", two, one, "-o", both, "--overwrite")[0] == 0


def test_select_names_what_is_wrong(cache, file, tmp_path):
    out = tmp_path / "o.h5"
    assert cache("select", file.path, "-o", out)[0] == 2
    status, _, err = cache("select", file.path, "--class", "dgo", "-o", out)
    assert status == 1 and "the closest is 'dog'" in err
    status, _, err = cache("select", file.path, "--ids", tmp_path / "none.txt", "-o", out)
    assert status == 1 and "cannot read" in err and "none.txt" in err
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe")
    assert "UTF-8" in cache("select", file.path, "--ids", tmp_path / "bad.txt", "-o", out)[2]
    (tmp_path / "empty.txt").write_bytes(b"\r\n")
    assert "no line" in cache("select", file.path, "--ids", tmp_path / "empty.txt", "-o", out)[2]
    (tmp_path / "ids.txt").write_text("狗 1")
    words = ("select", file.path, "--ids", tmp_path / "ids.txt", "--class", "dog", "-o", out)
    status, _, err = cache(*words)
    assert status == 1 and "no row is left" in err and not out.exists()


@pytest.mark.parametrize("suffix", ["npy", "parquet", "arrow", "feather"])
def test_export_and_import(cache, file, tmp_path, suffix):
    path, again = tmp_path / f"x.{suffix}", tmp_path / "again.h5"
    status, out, err = cache("export", file.path, path)
    assert status == 0 and out.splitlines()[0] == str(path) and not err
    status, _, err = cache("export", file.path, path)
    assert status == 1 and "exists" in err
    assert cache("export", file.path, path, "--overwrite")[0] == 0
    encoder = ("--encoder", "none") if suffix == "npy" else ()
    status, out, err = cache("import", path, "-o", again, *encoder)
    assert status == 0 and "39 rows x 3, 6 classes" in out
    found = FeatureFile(again)
    for name in ("features", "ids", "labels", "classes", "columns/fold", "columns/speaker"):
        np.testing.assert_array_equal(found.array(name), file.array(name))
    assert found.encoder == "none" and (suffix == "npy" or found.dataset == "toy")
    status, _, err = cache("import", path, "-o", again, *encoder)
    assert status == 0 and "nothing to do" in err
    status, _, err = cache("import", path, "-o", again, "--encoder", "other")
    assert status == 1 and 'encoder is "none", would be "other"' in err
    words = ("import", path, "-o", again, "--encoder", "other", "--dataset", "狗", "--overwrite")
    assert cache(*words, "--dtype", "float32")[0] == 0
    found = FeatureFile(again)
    assert (found.encoder, found.dataset, found.dtype) == ("other", "狗", np.float32)


def test_import_with_a_table(cache, tmp_path):
    x = np.array([[1, 2], [np.nan, 4], [5, 6]])
    np.save(tmp_path / "x.npy", x)
    table = tmp_path / "rows.jsonl"
    table.write_text('{"key": "كلب", "kind": "k"}\n{"key": "b"}\n{"key": "c", "kind": null}\n')
    options = ("--table", table, "--id-column", "key", "--label-column", "kind", "-e", "some")
    status, out, err = cache("import", tmp_path / "x.npy", "-o", tmp_path / "a.h5", *options)
    assert status == 0 and "2 rows x 2, 1 class\n" in out and "rejected b: " in err
    file = FeatureFile(tmp_path / "a.h5")
    assert decode(file.ids) == ["كلب", "c"] and file.labels.tolist() == [0, -1]
    assert (file.dataset, file.dtype) == ("x", np.float32)


def test_import_names_what_is_wrong(cache, tmp_path):
    x, out = tmp_path / "x.npy", tmp_path / "a.h5"
    status, _, err = cache("import", x, "-o", out, "-e", "some")
    assert status == 1 and "x.npy does not exist" in err
    np.save(x, np.ones((3, 2)))
    status, _, err = cache("import", x, "-o", out)
    assert status == 1 and "--encoder NAME" in err
    status, _, err = cache("import", x, "-o", out, "-e", "some", "--table", tmp_path / "none.csv")
    assert status == 1 and "none.csv" in err
    (tmp_path / "x.csv").write_text("id\na\nb\n")
    status, _, err = cache("import", x, "-o", out, "-e", "some")
    assert status == 1 and "ids and labels are from" in err and "3 rows, and its table 2" in err
    (tmp_path / "x.csv").unlink()
    status, _, err = cache("import", tmp_path / "x.mat", "-o", out, "-e", "some")
    assert status == 1 and "ends in none of" in err
    assert cache("import", x, "-o", out, "-e", "some", "--features-column", "x")[0] == 2
    assert cache("import", tmp_path / "x.arrow", "-o", out, "--table", x)[0] == 2
    status, _, err = cache("import", x, "-o", out, "-e", "some", "--dtype", "int8")
    assert status == 1 and "dtype must be one of" in err
    assert cache("import", x, "-o", out, "-e", "some", "--id-column", "id")[0] == 2
    assert not out.exists()


@pytest.mark.parametrize("command", ["info", "verify", "merge", "select", "export", "import"])
def test_help(cache, command):
    status, out, _ = cache(command, "--help")
    assert status == 0 and "Example: xmg cache" in out


def test_torch_stays_out(file, tmp_path):
    """In a fresh process: no command of the group loads torch or Numba."""
    parts = (["info", file.path], ["verify", file.path], ["export", file.path, tmp_path / "x.npy"])
    parts += (["import", tmp_path / "x.npy", "-o", tmp_path / "b.h5", "-e", "none"],)
    lines = [
        f"sys.argv = {['xmg', 'cache', *map(str, words)]!r}\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        for words in parts
    ]
    script = "import sys\nfrom xmg.cli.main import main\n" + "".join(lines)
    script += "assert not {'torch', 'numba'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_without_permission_to_write(cache, file, denied):
    folder = file.path.parent
    for name in ("b.npy", "b.parquet"):
        assert cache("export", file.path, folder / name)[0] == 0
    for name in ("dog", "狗"):
        assert cache("select", file.path, "--class", name, "-o", folder / f"{name}.h5")[0] == 0
    (folder / "closed").mkdir(mode=0)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    dog = ("cache", "select", "a.h5", "--class", "dog", "-o")
    found = denied(
        folder,
        (*dog, "new.h5"), (*dog, "sub/new.h5"), (*dog, "closed/new.h5"),
        (*dog, "a.h5", "--overwrite"), ("cache", "merge", "dog.h5", "狗.h5", "-o", "new.h5"),
        ("cache", "export", "a.h5", "new.npy"), ("cache", "export", "a.h5", "new.parquet"),
        ("cache", "export", "a.h5", "closed/new.arrow"),
        ("cache", "export", "a.h5", "b.npy", "--overwrite"),
        ("cache", "import", "b.npy", "-e", "one", "-o", "new.h5"),
        ("cache", "import", "b.parquet", "-o", "new.h5"),
        ("cache", "import", "b.parquet", "-o", "closed/new.h5"),
    )  # fmt: skip
    (folder / "closed").chmod(0o755)
    for status, said in found:
        error = said[said.index("error: ") :]
        assert status == 1 and error.startswith("error: cannot write ") and error.count("\n") < 3
        assert error.endswith("fix: name an output where you may write\n")
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
