import pytest

from xmg.extract.encoders.text_file import read_text
from xmg.extract.types import RejectError


@pytest.mark.parametrize(
    "text",
    [
        "\U0001f469\u200d\U0001f680\U0001f9ff",
        "a" * 1_000_000,
        " kept \n",
        "\u0627\u0628",
        "\U0001f600",
    ],
    ids=["emoji", "1 MB", "spaces", "right to left", "one emoji"],
)
def test_any_text_is_read_as_it_is(tmp_path, text):
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    assert read_text(text) == read_text(tmp_path / "a.txt") == text


def test_line_ends_become_one(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"a\r\nb\rc\n")
    assert read_text(tmp_path / "a.txt") == "a\nb\nc\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b" \t\r\n\xe2\x80\x83", "empty"),  # an em space
        (b"\xef\xbb\xbf", "empty"),
        (b"na" * 50_000 + b"\xe9 ", "not UTF-8 text: invalid continuation byte at byte 100000"),
        (b"\xed\xa0\x80", "not UTF-8 text: invalid continuation byte at byte 0"),
        (b"\xc0\xaf", "not UTF-8 text: invalid start byte at byte 0"),
        (b"\xff\xfeh\0i\0", "not UTF-8 text: invalid start byte at byte 0"),
        (b"h\0i\0", "it holds NUL; UTF-16 is to be converted"),
    ],
)
def test_bytes_that_are_no_text(tmp_path, content, reason):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(RejectError, match=reason):
        read_text(tmp_path / "a.txt")


def test_half_a_character():
    with pytest.raises(RejectError, match="half a character at 2"):
        read_text("ab\ud83d")


def test_a_text_too_large_to_be_one(tmp_path):
    with (tmp_path / "a.txt").open("wb") as file:
        file.truncate(1 << 40)  # a sparse TB
    with pytest.raises(RejectError, match="larger than 16 MiB"):
        read_text(tmp_path / "a.txt")
