import os
from pathlib import Path

import numpy as np
import pytest

from xmg.cache import FeatureFile, XmgError
from xmg.cache.pairs import join_ids
from xmg.extract.encoders.text_file import read_text
from xmg.extract.pipeline import extract
from xmg.extract.sources import open_source
from xmg.extract.types import RejectError, Sample

MATTHEW = "B01___01_Matthew_____NANTTVN2DA"


def publish(root: Path, name: str, prompts: str | bytes, wavs=()) -> Path:
    """Write a language as `do_found fast_make_align` leaves it."""
    aligned = root / name / "aligned"
    for folder in (aligned / "etc", aligned / "wav", root / name / "download"):
        folder.mkdir(parents=True)
    raw = prompts.encode() if isinstance(prompts, str) else prompts
    (aligned / "etc/txt.done.data").write_bytes(raw)
    for wav in wavs:
        (aligned / f"wav/{wav}.wav").write_bytes(wav.encode())
    return root


def texts(root: Path) -> dict[str, str]:
    return {s.id: s.content for s in open_source(root, "text").samples}


def test_text_and_speech_share_ids_labels_and_chapters(tmp_path):
    publish(
        tmp_path,
        "NANTTV",
        f'( {MATTHEW}_00002 "耶穌基督" 5.176 3.42 )\n'
        f'( {MATTHEW}_00001 "sentence one." 4.0 2.9 )\n'
        '( B01___02_Matthew_____NANTTVN2DA_00001 "Ἐν ἀρχῇ" 1 nan )\n',
    )
    publish(tmp_path, "AAAMLT", '( AAAMLT_one_00001 "ስላም" )\n')
    (tmp_path / "indices").mkdir()
    (tmp_path / "LangList.txt").touch()
    expected = [
        ("AAAMLT_one_00001", "AAAMLT", "ስላም"),
        (f"{MATTHEW}_00002", "NANTTV", "耶穌基督"),
        (f"{MATTHEW}_00001", "NANTTV", "sentence one."),
        ("B01___02_Matthew_____NANTTVN2DA_00001", "NANTTV", "Ἐν ἀρχῇ"),
    ]
    text, speech = open_source(tmp_path, "text"), open_source(tmp_path, "audio")
    assert list(text.samples) == [Sample(i, t, label) for i, label, t in expected]
    assert list(speech.samples) == [
        Sample(i, tmp_path / label / "aligned/wav" / f"{i}.wav", label) for i, label, _ in expected
    ]
    chapters = ["AAAMLT_one", MATTHEW, MATTHEW, "B01___02_Matthew_____NANTTVN2DA"]
    assert text.columns == speech.columns == {"recording": chapters}
    assert text.name == speech.name == "wilderness"
    assert len(open_source(tmp_path, "text", layout="wilderness").samples) == 4


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (r'( a_1 "he said \"go\"" 1.0 2.0 )', 'he said "go"'),
        (r'( a_1 "\"go\" he said" )', '"go" he said'),
        ('( a_1 "he "said" go" 1.0 2.0 )', 'he "said" go'),
        (r'( a_1 "back\\slash and \\\"both\\\"" )', 'back\\slash and \\"both\\"'),
        (r'( a_1 "kept \n as it is" )', r"kept \n as it is"),
        ('( a_1 "(in brackets) 1.0 )" 1.0 2.0 )', "(in brackets) 1.0 )"),
        ('( a_1 " spaces around " )', "spaces around"),
        ('(a_1 "no space" )', "no space"),
        ('  (  a_1\t"tab"   )  ', "tab"),
        ('( a_1 "paragraph\u2028 \x85 separators" )', "paragraph\u2028 \x85 separators"),
    ],
)
def test_quotes_and_escapes(tmp_path, line, text):
    publish(tmp_path, "AAAMLT", f"{line}\n")
    assert texts(tmp_path) == {"a_1": text}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_ends_and_byte_order_mark(tmp_path, end):
    publish(tmp_path, "AAAMLT", end.join(['\ufeff( a_1 "one" )', "", '( a_2 "two" )', '( a_3 "3"']))
    assert texts(tmp_path) == {"a_1": "one", "a_2": "two", "a_3": "3"}


@pytest.mark.parametrize(
    "line", ['( a_1 "" 1.0 2.0 )', "( a_1 )", '( a_1 "open )', b'( a_1 "caf\xe9" )']
)
def test_an_utterance_without_text_is_rejected(tmp_path, line):
    raw = line if isinstance(line, bytes) else line.encode()
    publish(tmp_path, "AAAMLT", raw + b'\n( a_2 "caf\xc3\xa9" )\n')
    first, second = open_source(tmp_path, "text").samples
    assert (first.id, first.label, second.content) == ("a_1", "AAAMLT", "café")
    with pytest.raises(RejectError, match="the text is empty"):
        read_text(first.content)
    assert [s.id for s in open_source(tmp_path, "audio").samples] == ["a_1", "a_2"]


def test_lines_without_an_utterance_are_left_out(tmp_path):
    """The scripts write such where an utterance is not found; other ids leave the folder."""
    lines = ["5.176 3.42 )", "( )", '( "text" 1.0 2.0 )', "", '( ../../etc_1 "x" )', '( a\\b "x" )']
    publish(tmp_path, "AAAMLT", "\n".join([*lines, '( a(1)_1 "kept" )']))
    assert texts(tmp_path) == {"a(1)_1": "kept"}


def test_an_utterance_listed_twice(tmp_path):
    publish(tmp_path, "AAAMLT", '( a_1 "x" 1 2 )\n( a_2 "y" 1 2 )\n( a_1 "x" 3 4 )\n')
    assert list(texts(tmp_path)) == ["a_1", "a_2"]
    with (tmp_path / "AAAMLT/aligned/etc/txt.done.data").open("a") as file:
        file.write('( a_2 "z" 1 2 )\n')
    with pytest.raises(XmgError, match=r"txt\.done\.data, line 4: the id 'a_2' .* fix: delete"):
        open_source(tmp_path, "text")


def test_two_languages_with_one_id(tmp_path):
    publish(tmp_path, "AAAMLT", '( a_1 "x" )\n')
    publish(tmp_path, "BBBMLT", '( a_1 "x" )\n')
    with pytest.raises(XmgError, match=r"AAAMLT and BBBMLT share the utterance 'a_1'\. fix: move"):
        open_source(tmp_path, "text")


def test_an_id_without_a_number_is_a_chapter_of_its_own(tmp_path):
    publish(tmp_path, "AAAMLT", '( one "x" )\n( two_ "x" )\n( 3_x_12 "x" )\n')
    assert open_source(tmp_path, "text").columns == {"recording": ["one", "two_", "3_x"]}


def test_names_that_are_not_utf8(tmp_path):
    publish(tmp_path, "AAAMLT", b'( caf\xe9_1 "x" )\n')
    wav = bytes(tmp_path) + b"/AAAMLT/aligned/wav/caf\xe9_1.wav"
    Path(os.fsdecode(wav)).touch()
    (sample,) = open_source(tmp_path, "audio").samples
    assert sample.id == "caf\\xe9_1"
    assert sample.content.exists()


def test_links_and_hidden_folders(tmp_path):
    data = tmp_path / "data"
    publish(data, ".trash", '( old_1 "x" )\n')
    publish(tmp_path, "elsewhere", '( a_1 "x" )\n')
    (data / "AAAMLT").symlink_to(tmp_path / "elsewhere")
    (data / "loop").symlink_to(data / "loop")
    assert [(s.id, s.label) for s in open_source(data, "text").samples] == [("a_1", "AAAMLT")]


def test_a_folder_that_may_not_be_entered_is_no_language(tmp_path, monkeypatch):
    publish(tmp_path, "AAAMLT", '( a_1 "x" )\n')
    (tmp_path / "closed").mkdir()
    is_file = Path.is_file

    def guarded(path):
        if "closed" in path.parts:
            raise PermissionError
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", guarded)
    assert texts(tmp_path) == {"a_1": "x"}


def test_one_language_is_no_data_set(tmp_path):
    publish(tmp_path, "AAAMLT", '( a_1 "x" )\n')
    with pytest.raises(XmgError, match=r"folder of one language.* fix: give the folder above it"):
        open_source(tmp_path / "AAAMLT", "text")


def test_nothing_is_listed(tmp_path):
    publish(tmp_path, "AAAMLT", "")
    with pytest.raises(XmgError, match=r"lists an utterance\.\nfix: .*datasets-CMU_Wilderness"):
        open_source(tmp_path, "text")
    publish(tmp_path, "BBBMLT", '( a_1 "x" )\n')  # one unfinished language does not matter
    assert texts(tmp_path) == {"a_1": "x"}


def test_photos_are_not_in_it(tmp_path):
    publish(tmp_path, "AAAMLT", '( a_1 "x" )\n')
    with pytest.raises(XmgError, match="holds text and audio, not image"):
        open_source(tmp_path, "image")


class Lengths:
    """An encoder of texts and files: the number of their bytes."""

    name, dim, sequences, batch_size, weights_sha256 = "lengths", 1, False, 8, ""
    preprocessing: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, modality):
        self.modality = modality

    def decode(self, content):
        if self.modality == "text":
            return read_text(content).encode()
        try:
            return content.read_bytes()
        except OSError as error:
            raise RejectError(error.strerror) from error

    def encode(self, batch):
        return [np.array([len(item)], np.float32) for item in batch]


def test_extracted_files_pair_by_id(tmp_path):
    lines = '( a_1 "x" )\n( a_2 "" )\n( a_3 "z" )\n( a_4 "w" )\n'
    publish(tmp_path / "data", "AAAMLT", lines, wavs=["a_1", "a_2", "a_4", "unlisted_1"])
    files: dict[str, FeatureFile] = {}
    for modality in ("text", "audio"):
        source = open_source(tmp_path / "data", modality)
        files[modality] = extract(source, Lengths(modality), tmp_path / f"{modality}.h5")
    assert [name for name, _ in files["text"].rejects] == ["a_2"]
    assert files["audio"].rejects == [("a_3", "No such file or directory")]
    rows, _ = join_ids(files["text"], files["audio"])
    assert files["text"].ids[rows].tolist() == [b"a_1", b"a_4"]
    assert files["audio"].column("recording").tolist() == [b"a", b"a", b"a"]
