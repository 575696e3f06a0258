"""Which features are kept, which are made anew, and which are refused."""

from pathlib import Path

import numpy as np
import pytest
from test_pipeline import Counting, Renamed, numbers

from xmg.cache import FeatureFile, XmgError, decode
from xmg.cache.ranks import Ranks
from xmg.cache.verify import damages
from xmg.extract.contents import digests
from xmg.extract.pipeline import extract
from xmg.extract.sources.limited import limit
from xmg.extract.types import Sample, Source

FILE_BYTES = 200_000


def source_of(contents, labels=None):
    labels = labels or dict.fromkeys(contents, "x")
    return Source("s", [Sample(k, v, labels[k]) for k, v in contents.items()])


def texts(*names, **changed):
    return {name: changed.get(name, str(ord(name) % 50)) for name in names}


def run(path, contents, labels=None, **options):
    """Extract; returns the file, the number of inputs encoded, and what was told."""
    encoder, told = Counting(pace=0), []
    file = extract(source_of(contents, labels), encoder, path, notify=told.append, **options)
    return file, sum(encoder.batches), told


@pytest.fixture
def out(tmp_path):
    run(tmp_path / "a.h5", texts(*"abcde"))
    return tmp_path / "a.h5"


def test_the_same_again_says_so(out):
    _, n_encoded, told = run(out, texts(*"abcde"))
    assert n_encoded == 0
    assert told == [f"{out} holds just these features already; nothing to do"]


@pytest.mark.parametrize(
    ("contents", "labels", "said"),
    [
        (texts(*"abcdefg"), None, r"2 inputs are new \('f', ...\)"),
        (texts(*"abcd"), None, r"1 input is gone \('e'\)"),
        (texts(*"abcde", c="7"), None, r"1 input is changed \('c'\)"),
        (texts(*"abcde"), dict.fromkeys("abcde", "y"), r"5 inputs are labelled otherwise"),
        (texts(*"abced"), None, "in another order"),
        (texts(*"abcdf", a="9"), None, r"1 input is new .*1 input is gone .*1 input is changed"),
    ],
)
def test_other_inputs_are_refused_with_what_differs(out, contents, labels, said):
    """--update is named where it would do: not where inputs are gone."""
    before, fix = out.read_bytes(), "--overwrite" if "gone" in said else "--update"
    with pytest.raises(XmgError, match=rf"holds other features: .*{said}(.|\n)*fix: {fix}"):
        run(out, contents, labels)
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("contents", "labels", "n_encoded"),
    [
        (texts(*"abcdefg"), None, 2),
        (texts(*"fabgcde"), None, 2),
        (texts(*"abcde", c="7", a="8"), None, 2),
        (texts(*"abcde"), dict.fromkeys("abcde", "y"), 0),
        (texts(*"edcba"), None, 0),
    ],
)
def test_update_encodes_what_is_new(out, tmp_path, contents, labels, n_encoded):
    file, found, _ = run(out, contents, labels, existing="update")
    assert found == n_encoded
    anew, _, _ = run(tmp_path / "anew.h5", contents, labels)
    assert file.path.read_bytes() == anew.path.read_bytes()
    assert not list(damages(file))


def test_update_loses_nothing_when_inputs_are_gone(out):
    before = out.read_bytes()
    with pytest.raises(XmgError, match=r"has 2 inputs that are no longer listed, such as 'd'"):
        run(out, texts(*"abcf"), existing="update")
    assert out.read_bytes() == before


def test_update_refuses_another_encoder(out):
    with pytest.raises(XmgError, match='dtype is "float16", would be "float32"'):
        run(out, texts(*"abcdef"), existing="update", dtype="float32")


def test_update_with_rejects_refuses_another_encoder(tmp_path):
    run(tmp_path / "a.h5", texts(*"abc", b="bad"))
    before = (tmp_path / "a.h5").read_bytes()
    with pytest.raises(XmgError, match='encoder is "counting", would be "renamed"'):
        extract(source_of(texts(*"abc", b="bad")), Renamed(), tmp_path / "a.h5", existing="update")
    assert (tmp_path / "a.h5").read_bytes() == before


def test_update_without_a_former_file_is_an_extraction(tmp_path):
    file, n_encoded, _ = run(tmp_path / "a.h5", texts(*"abc"), existing="update")
    assert (len(file), n_encoded) == (3, 3)


def test_update_from_a_part_to_the_whole_keeps_its_rows(tmp_path):
    whole, encoder = numbers(20), Counting()
    extract(limit(whole, 6), Counting(), tmp_path / "a.h5")
    file = extract(whole, encoder, tmp_path / "a.h5", existing="update")
    assert sum(encoder.batches) == 14
    anew = extract(whole, Counting(), tmp_path / "anew.h5")
    assert file.path.read_bytes() == anew.path.read_bytes()
    with pytest.raises(XmgError, match="14 inputs that are no longer listed"):
        extract(limit(whole, 6), Counting(), tmp_path / "a.h5", existing="update")


def test_update_tries_rejected_inputs_again(tmp_path):
    class Mended(Counting):
        def decode(self, content):
            return 1 if content == "bad" else super().decode(content)

    contents = texts(*"abc", b="bad")
    file, _, _ = run(tmp_path / "a.h5", contents)
    assert [name for name, _ in file.rejects] == ["b"]
    again, n_encoded, _ = run(tmp_path / "a.h5", contents, existing="update")
    assert n_encoded == 0 and [name for name, _ in again.rejects] == ["b"]
    mended = extract(source_of(contents), Mended(), tmp_path / "a.h5", existing="update")
    assert decode(mended.ids) == ["a", "b", "c"] and not mended.rejects


def test_a_rejected_input_that_was_mended_is_said_to_have_changed(tmp_path):
    run(tmp_path / "a.h5", texts(*"abc", b="bad"))
    with pytest.raises(XmgError, match=r"rejected inputs have changed, or .*\nfix: --update"):
        run(tmp_path / "a.h5", texts(*"abc"))
    file, n_encoded, _ = run(tmp_path / "a.h5", texts(*"abc"), existing="update")
    assert n_encoded == 1 and not file.rejects


def test_an_interrupted_update_goes_on(out):
    class Dying(Counting):
        def encode(self, batch):
            if self.batches:
                raise MemoryError
            return super().encode(batch)

    contents = texts(*"abcdefghijklm")
    before = out.read_bytes()
    with pytest.raises(MemoryError):
        extract(source_of(contents), Dying(pace=0), out, existing="update")
    assert out.read_bytes() == before
    file, n_encoded, told = run(out, contents, existing="update")
    assert told == ["going on: an earlier run did 9 of 13 inputs"]
    assert (n_encoded, len(file)) == (4, 13)


def test_rows_of_an_interrupted_run_are_not_mixed_with_others(tmp_path):
    class Dying(Counting):
        def encode(self, batch):
            if self.batches:
                raise MemoryError
            return super().encode(batch)

    with pytest.raises(MemoryError):
        extract(numbers(9), Dying(pace=0), tmp_path / "a.h5")
    match = r"keeps 4 of 9 inputs of an interrupted run over other features: dtype is \"float16\""
    with pytest.raises(XmgError, match=match):
        extract(numbers(9), Counting(), tmp_path / "a.h5", dtype="float32")
    encoder = Counting()
    file = extract(numbers(9), encoder, tmp_path / "a.h5", dtype="float32", existing="overwrite")
    assert (sum(encoder.batches), file.dtype.name) == (9, "float32")
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_the_folder_of_a_run_killed_at_its_last_step_is_swept(out):
    with pytest.raises(KeyboardInterrupt):
        extract(source_of(texts(*"abcde")), Interrupted(pace=0), out, existing="overwrite")
    folder = out.with_name("a.h5.partial")
    assert folder.is_dir()
    run(out, texts(*"abcde"))
    assert not folder.exists()


class Interrupted(Counting):
    def encode(self, batch):
        if self.batches:
            raise KeyboardInterrupt
        return super().encode(batch)


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "a.h5").symlink_to(tmp_path / "elsewhere" / "real.h5")
    run(tmp_path / "a.h5", texts(*"ab"))
    assert (tmp_path / "a.h5").is_symlink()
    assert (tmp_path / "elsewhere" / "real.h5").is_file()


def test_a_link_to_itself(tmp_path):
    (tmp_path / "a.h5").symlink_to(tmp_path / "a.h5")
    with pytest.raises(XmgError, match=r"a\.h5 is a symbolic link that leads back to itself"):
        run(tmp_path / "a.h5", texts(*"ab"))


@pytest.mark.parametrize(
    "name", ["with space.h5", "two\nlines.h5", "猫 \U0001f431.h5", "a'b\"c.h5"]
)
def test_names_of_any_kind(tmp_path, name):
    file, _, _ = run(tmp_path / name, texts(*"ab"))
    assert len(file) == 2
    assert [path.name for path in tmp_path.iterdir()] == [name]


def write_file(path: Path, seed: int) -> Path:
    path.write_bytes(np.random.default_rng(seed).bytes(FILE_BYTES))
    return path


def digest_of(path):
    return digests([Sample("x", path)], 1)[0].tolist()


def test_files_of_one_size_are_told_apart(tmp_path):
    one, two = write_file(tmp_path / "1.wav", 1), write_file(tmp_path / "2.wav", 2)
    assert digest_of(one) != digest_of(two)
    assert digest_of(one) == digest_of(write_file(tmp_path / "again.wav", 1))


@pytest.mark.parametrize("position", [0, 4000, FILE_BYTES - 1])
def test_a_changed_byte_at_either_end(tmp_path, position):
    path = write_file(tmp_path / "1.wav", 1)
    before, content = digest_of(path), bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    assert digest_of(path) != before


def test_any_changed_byte_of_a_small_file(tmp_path):
    path, content = tmp_path / "a.png", bytearray(300)
    seen = set()
    for i in range(300):
        content[i] ^= 1
        path.write_bytes(content)
        seen.add(tuple(digest_of(path)))
    assert len(seen) == 300


def test_missing_files_and_pipes_are_never_known(tmp_path):
    assert digest_of(tmp_path / "absent") == [0, 0]


def test_images_of_one_size_but_another_shape():
    pixels = np.zeros((4, 6, 3), np.uint8)
    found = digests([Sample("a", pixels), Sample("b", pixels.reshape(6, 4, 3))], 2)
    assert found[0].tolist() != found[1].tolist()


def test_update_does_not_take_over_damaged_rows(out):
    content = bytearray(out.read_bytes())
    content[FeatureFile(out).extents["features"][0]] ^= 1
    out.write_bytes(content)
    with pytest.raises(XmgError, match=r"a\.h5 is damaged: features, rows 0 to 4"):
        run(out, texts(*"abcdef"), existing="update")


@pytest.mark.parametrize("size", [1, 2, 5, 9])
def test_processes_share_the_reading(size):
    samples = [Sample(str(i), f"text {i}") for i in range(7)]
    read: dict[int, object] = {}

    def rank(number):
        def exchange(said):
            read[number] = said
            return [read[other] for other in range(size)]

        return Ranks(number, size, exchange)

    for number in range(size - 1):
        with pytest.raises(KeyError):  # the others have not read their share yet
            digests(samples, 1, rank(number))
    np.testing.assert_array_equal(digests(samples, 1, rank(size - 1)), digests(samples, 1))


def test_processes_that_list_different_data():
    exchange = {"exchange": lambda said: [said, (6, said[1])]}
    with pytest.raises(XmgError, match="list different data, 6 and 7 inputs"):
        digests([Sample(str(i), "x") for i in range(7)], 1, Ranks(0, 2, **exchange))
