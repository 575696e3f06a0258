from collections import Counter

import pytest

from xmg.cache import XmgError
from xmg.extract.sources import open_source
from xmg.extract.types import Sample

HEADER = "filename,fold,target,category,esc10,src_file,take\n"


def test_layout_and_stand_ins(tmp_path):
    (tmp_path / "meta").mkdir()
    (tmp_path / "audio").mkdir()
    rows = (
        "1-a-A-0.wav,1,0,dog,True,a,A\n"
        "2-b-A-1.wav,2,1,rooster,True,b,A\n"
        "3-c-A-1.wav,3,1,rooster,False,c,A\n"
    )
    (tmp_path / "meta/esc50.csv").write_text(HEADER + rows)
    (tmp_path / "audio/1-a-A-0.wav").touch()
    (tmp_path / "audio/1-a-A-0.ogg").touch()  # the listed file comes first
    (tmp_path / "audio/2-b-A-1.flac").touch()
    source = open_source(tmp_path, "audio")
    audio = tmp_path / "audio"
    assert list(source.samples) == [
        Sample("1-a-A-0.wav", audio / "1-a-A-0.wav", "dog"),
        Sample("2-b-A-1.wav", audio / "2-b-A-1.flac", "rooster"),
        Sample("3-c-A-1.wav", audio / "3-c-A-1.wav", "rooster"),
    ]
    assert source.columns == {"recording": ["a", "b", "c"], "fold": ["1", "2", "3"]}
    with pytest.raises(XmgError, match="holds audio, not image"):
        open_source(tmp_path, "image")


@pytest.mark.parametrize("name", ["../secret.wav", "/etc/passwd", "in/side.wav"])
def test_a_name_that_leaves_the_audio_folder(tmp_path, name):
    (tmp_path / "meta").mkdir()
    (tmp_path / "audio").mkdir()
    (tmp_path / "meta/esc50.csv").write_text(f"{HEADER}{name},1,0,dog,True,a,A\n")
    with pytest.raises(XmgError, match=rf"esc50.csv, row 1: '{name}' is not in audio/"):
        open_source(tmp_path, "audio")


def test_no_audio_folder(tmp_path):
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/esc50.csv").write_text(HEADER)
    with pytest.raises(XmgError, match="no folder audio/"):
        open_source(tmp_path, "audio")


def test_real_clips(real):
    source = open_source(real("esc50"), "audio")
    counts = Counter(s.label for s in source.samples)
    assert len(source.samples) == 601
    assert len(counts) == 38
    assert sum(n == 40 for n in counts.values()) == 9
    assert all(
        s.id.split("-")[1] == r
        for s, r in zip(source.samples, source.columns["recording"], strict=True)
    )
    assert all(s.content.is_file() for s in source.samples)
