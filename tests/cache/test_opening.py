"""Opening what is oddly named, read-only, no file at all, or holds what it should not."""

import errno
import os
import pickle
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import synthetic
from test_reading import LABELS, ROWS, SEEN, run, seen

from xmg.cache import FeatureFile, XmgError


@pytest.fixture
def file(tmp_path):
    return synthetic.write(tmp_path / "a.h5", ROWS, LABELS)


# Where it lies -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "with spaces.h5",
        "two\nlines.h5",
        "ünï 猫.h5",
        os.fsdecode(b"not utf-8 \xff.h5"),
        "-o",
        "%s",
        "{}",
    ],
)
def test_odd_names(tmp_path, name):
    file = synthetic.write(tmp_path / name, ROWS, LABELS)
    assert seen(file) == SEEN
    assert seen(pickle.loads(pickle.dumps(file))) == SEEN  # noqa: S301


def test_relative_names(file, monkeypatch):
    monkeypatch.chdir(file.path.parent)
    assert seen(FeatureFile("a.h5")) == SEEN


def test_links(file, tmp_path):
    (tmp_path / "link").symlink_to("a.h5")
    assert seen(FeatureFile(tmp_path / "link")) == SEEN
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    (tmp_path / "nowhere").symlink_to("absent")
    for name, message in (("one", "Too many levels"), ("nowhere", "no feature file at")):
        with pytest.raises(XmgError, match=message):
            FeatureFile(tmp_path / name)


def test_what_is_no_file(file, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null"), Path("/dev/zero"), Path("/proc/self/mem")):
        with pytest.raises(XmgError, match=r"not a regular file; a feature|not a readable|cannot"):
            FeatureFile(path)
    with pytest.raises(XmgError, match="is a folder; a feature file is needed"):
        FeatureFile(tmp_path)
    with pytest.raises(XmgError, match="no feature file at"):
        FeatureFile(file.path / "inside")
    with pytest.raises(XmgError, match="is no path that a file can have"):
        FeatureFile("a\0b")
    with pytest.raises(XmgError, match="File name too long"):
        FeatureFile("a" * 5000)


def test_a_path_that_the_locale_cannot_write(file):
    code = f"from xmg.cache import FeatureFile; FeatureFile({str(file.path / 'собака')!a})"
    narrow = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, env={**os.environ, **narrow}
    )
    assert b"XmgError: this locale's ascii cannot write the path" in ran.stderr
    assert b"fix: export PYTHONUTF8=1" in ran.stderr
    with pytest.raises(XmgError, match="is no path that a file can have"):
        FeatureFile("\ud800")  # nor can UTF-8


UNREADABLE = """
os.setgid(65534)
os.setuid(65534)
for path in sys.argv[1:]:
    try:
        FeatureFile(path)
    except XmgError as error:
        print(error)
"""


def test_without_permission(file, tmp_path):
    if os.getuid():
        file.path.chmod(0)
        with pytest.raises(XmgError, match="Permission denied"):
            FeatureFile(file.path)
    else:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        said = run(UNREADABLE, str(file.path), str(closed / "a.h5")).splitlines()
        assert len(said) == 2 and all("Permission denied. fix: " in line for line in said)


def test_a_file_and_folder_that_nobody_may_write(file):
    file.path.chmod(0o444)
    file.path.parent.chmod(0o555)
    try:
        assert seen(FeatureFile(file.path)) == SEEN
    finally:
        file.path.parent.chmod(0o755)


def test_a_read_only_disk(file, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a disk is not permitted here")
    try:
        (disk / "a.h5").write_bytes(file.path.read_bytes())
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(OSError, match="Read-only") as caught:
            (disk / "b.h5").write_bytes(b"")
        assert caught.value.errno == errno.EROFS
        assert seen(FeatureFile(disk / "a.h5")) == SEEN
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


# What it holds -----------------------------------------------------------------------------


def changed(file, name, row, value):
    """Have another program change one value."""
    with h5py.File(file.path, "r+") as other:
        other[name][row] = value
    return FeatureFile(file.path)


@pytest.mark.parametrize("value", [-2, 3, 1 << 30])
def test_labels_out_of_range(file, value):
    found = changed(file, "labels", 7, value)
    with pytest.raises(XmgError, match=r"a\.h5 is damaged: 'labels' .*xmg cache verify"):
        _ = found.labels


@pytest.mark.parametrize("value", [-1, 20, 1 << 60])
def test_class_rows_out_of_range(file, value):
    found = changed(file, "class_index/rows", 6, value)
    assert found.rows_of(0).tolist() == [0, 4, 8, 12, 16]
    with pytest.raises(XmgError, match=r"a\.h5 is damaged: 'class_index/rows'"):
        found.rows_of(1)


@pytest.mark.parametrize(("row", "value"), [(0, 1), (1, 99), (1, -1), (3, 16)])
def test_class_offsets_out_of_range(file, row, value):
    with pytest.raises(XmgError, match=r"a\.h5 is damaged: 'class_index/offsets'"):
        changed(file, "class_index/offsets", row, value)


@pytest.mark.parametrize("value", [-1, 99, 1 << 62, -(1 << 63)])
def test_offsets_out_of_range(tmp_path, value):
    file = synthetic.write(tmp_path / "s.h5", [ROWS[:2]] * 4, ["a"] * 4, sequences=True)
    found = changed(file, "offsets", 2, value)
    assert len(found.take(np.array([0, 3]))) == 2
    with pytest.raises(XmgError, match=r"s\.h5 is damaged: 'offsets'"):
        found.take(np.array([0, 1, 3]))
    with pytest.raises(XmgError, match=r"s\.h5 is damaged: 'offsets'"):
        changed(file, "offsets", 4, value)


def test_texts_that_are_not_utf_8(file):
    found = changed(file, "classes", 1, b"\xff")
    for look in (lambda: found.classes, lambda: found.texts("classes")):
        with pytest.raises(XmgError, match=r"a\.h5 is damaged: 'classes'"):
            look()


@pytest.mark.parametrize("version", [0, -1, 2, 1 << 40])
def test_formats_of_another_version(file, version):
    with h5py.File(file.path, "r+") as other:
        other.attrs["format_version"] = version
    with pytest.raises(XmgError, match=r"no feature file of xmg|this xmg reads up to 1"):
        FeatureFile(file.path)


@pytest.mark.parametrize("libver", ["earliest", "v108", "v110", "latest"])
def test_hdf5_of_others(tmp_path, libver):
    with h5py.File(tmp_path / "a.h5", "w", libver=libver) as other:
        other["features"] = ROWS
        other.attrs["title"] = "not ours"
    with pytest.raises(XmgError, match=r"a\.h5 is HDF5 but no feature file of xmg"):
        FeatureFile(tmp_path / "a.h5")


def test_a_file_with_a_user_block(file, tmp_path):
    (tmp_path / "b.h5").write_bytes(bytes(512) + file.path.read_bytes())
    with pytest.raises(XmgError, match="does not begin like HDF5"):
        FeatureFile(tmp_path / "b.h5")
