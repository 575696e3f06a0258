"""Inputs are found again by id, and shown small; what cannot be read says why."""

import base64
import io

import numpy as np
import pytest
import soundfile
import synthetic
from PIL import Image

from xmg.cache import XmgError
from xmg.extract.inputs import inputs_of, modalities, preview
from xmg.extract.types import RejectError


def features(path, ids):
    return synthetic.write(path, np.zeros((len(ids), 2), "f4"), [None] * len(ids), ids)


def decoded(uri, kind):
    head, _, data = uri.partition(";base64,")
    assert head == f"data:{kind}"
    return io.BytesIO(base64.b64decode(data, validate=True))


def test_images_are_small(tmp_path):
    rng = np.random.default_rng(0)
    big = rng.integers(0, 255, (700, 1000, 3), np.uint8)
    Image.fromarray(big).save(tmp_path / "a.png")
    for content in (tmp_path / "a.png", big):
        image = Image.open(decoded(preview(content, "image"), "image/jpeg"))
        assert image.size == (240, 168)
        assert np.asarray(image).mean() == pytest.approx(big.mean(), abs=3)
    tiny = Image.open(decoded(preview(big[:20, :30], "image"), "image/jpeg"))
    assert tiny.size == (30, 20)


def test_sounds_are_short_and_mono(tmp_path):
    t = np.arange(12 * 44100) / 44100
    wave = 3 * np.sin(2 * np.pi * 440 * t)  # beyond 1
    soundfile.write(tmp_path / "a.wav", np.stack([wave, wave], 1), 44100, subtype="FLOAT")
    found, rate = soundfile.read(decoded(preview(tmp_path / "a.wav", "audio"), "audio/mpeg"))
    assert rate == 16000 and found.ndim == 1
    assert len(found) / rate == pytest.approx(8, abs=0.2)
    spectrum = np.abs(np.fft.rfft(found[16000 : 5 * 16000]))
    assert np.argmax(spectrum) / 4 == pytest.approx(440, abs=1)


def test_texts(tmp_path):
    (tmp_path / "a.txt").write_text(" <b>one</b>\n")
    assert preview(tmp_path / "a.txt", "text") == "<b>one</b>"
    assert preview("x" * 5000, "text") == "x" * 600 + " …"


@pytest.mark.parametrize("kind", ["image", "audio", "text"])
@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff\xe0 no jpeg \x00", b"<svg onload=x>\x00"])
def test_damaged_files_are_rejected(tmp_path, kind, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(RejectError):
        preview(tmp_path / "a", kind)
    with pytest.raises(RejectError):
        preview(tmp_path / "absent", kind)
    with pytest.raises(RejectError):
        preview(tmp_path, kind)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    with pytest.raises(XmgError, match=r"soundfile.*fix: pip install 'xmg\[report\]'"):
        preview(tmp_path / "a.wav", "audio")


@pytest.fixture
def data(tmp_path):
    for kind, suffix in (("photos", "png"), ("more", "png")):
        for i in range(3):
            folder = tmp_path / kind / "cat"
            folder.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4), (i, 0, 0)).save(folder / f"{i}.{suffix}")
    (tmp_path / "odd.csv").write_text("key,words,label\nk1,<i>one</i>,a\nk2,two,b\n")
    return tmp_path


def test_a_folder(data):
    file = features(data / "f.h5", ["cat/0.png", "cat/2.png", "cat/9.png"])
    found = inputs_of(file, [data / "photos"])
    assert found.modality == "image" and found.n_rows == 3
    assert set(found.places) == {"cat/0.png", "cat/2.png"}
    assert found.preview("cat/2.png").startswith("data:image/jpeg;")
    with pytest.raises(RejectError, match="not among the data"):
        found.preview("cat/9.png")
    with pytest.raises(RejectError, match="not among the data"):
        found.preview("cat/1.png")  # an input, but no row of the file


def test_several_inputs_have_their_names_in_front(data):
    file = features(data / "f.h5", ["photos/cat/0.png", "more/cat/0.png"])
    assert len(inputs_of(file, [data / "photos", data / "more"]).places) == 2
    with pytest.raises(
        XmgError, match=r"(?s)'photos/cat/0.png'.*'cat/0.png'.*none is in both.*fix: "
    ):
        inputs_of(file, [data / "photos"])


def test_a_spec_knows_the_columns(data):
    file = features(data / "t.h5", ["k1", "k2"])
    with pytest.raises(XmgError, match="no column"):
        inputs_of(file, [data / "odd.csv"])
    table = (
        '[[extract]]\ndata = "odd.csv"\nencoder = "char-ngrams"\nout = "{}"\n'
        'id_column = "key"\ncontent_column = "words"\n'
    )
    (data / "sets.toml").write_text(table.format("else.h5") + table.format("t.h5"))
    found = inputs_of(file, [data / "sets.toml"])
    assert found.modality == "text" and found.preview("k1") == "<i>one</i>"
    (data / "sets.toml").write_text(table.format("else.h5"))
    assert inputs_of(file, [data / "sets.toml"]).preview("k2") == "two"  # the only table
    (data / "sets.toml").write_text(table.format("a.h5") + table.format("b.h5"))
    with pytest.raises(XmgError, match=r"no table whose out is .*fix: "):
        inputs_of(file, [data / "sets.toml"])


def test_modalities_of_encoders():
    assert modalities("yamnet") == ["audio"] and modalities("char-ngrams") == ["text"]
    assert modalities("timm:resnet18") == ["image"]
    assert set(modalities("my.module:encoder")) == {"image", "text", "audio"}
