import sys
from importlib import invalidate_caches

import numpy as np
import pytest

from xmg.cache import XmgError
from xmg.extract.encoders import load_encoder
from xmg.extract.pipeline import extract
from xmg.extract.same_encoder import same_encoder
from xmg.extract.sources import open_source

MODULE = """
import numpy as np

class Length:
    name, modality, dim, sequences, batch_size = "length", "text", 2, False, 3
    weights_sha256, preprocessing = "", {"unit": "characters"}
    def decode(self, content):
        return content if isinstance(content, str) else content.read_text()
    def encode(self, batch):
        return [np.array([len(t), t.count("a")], np.float32) for t in batch]

class Half(Length):
    dim = "two"

def load(): return Length()
def broken(): return Half()
def asking(path): return Length()
def changed(**values):
    encoder = Length()
    encoder.__dict__ |= values
    return encoder
def video(): return changed(modality="video")
def flat(): return changed(dim=0)
def odd(): return changed(preprocessing={"mean": np.float32(1)})
def dumb(): return changed(encode=None)
def bare(): return object()
def failing(): raise ValueError("my own fault")
"""


def forget():
    """Have the modules loaded anew, as another process does."""
    for name in ("mine", "other", "base"):
        sys.modules.pop(name, None)
    invalidate_caches()


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # which is told by whole seconds
    yield tmp_path
    forget()


def test_an_encoder_of_ones_own(module):
    (module / "texts.csv").write_text("id,text,label\na,banana,fruit\nb,sky,thing\n")
    encoder = load_encoder("mine:load")
    file = extract(open_source(module / "texts.csv", "text"), encoder, module / "o.h5")
    np.testing.assert_array_equal(file.features, [[6, 3], [3, 0]])
    assert file.encoder == "length"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mine:lod", "mine has no function lod; the closest is 'load'. fix: "),
        ("mine:np", "mine has no function np"),
        ("mine:asking", "mine:asking needs arguments. fix: name a function that takes none"),
        ("json:loads", "json:loads needs arguments. fix: "),
        ("math:sqrt", "math:sqrt needs arguments. fix: "),
        ("os.path:join", "os.path:join needs arguments. fix: "),
        ("mine:bare", r"what mine:bare returns has no name \(str\). fix: python -m pydoc "),
        ("mine:video", "mine:video: there is no modality 'video'. fix: image, text or audio"),
        ("mine:flat", "mine:flat: dim is 0. fix: 1 or more"),
        ("mine:odd", "mine:odd: preprocessing goes into .* as JSON, and cannot .*float32.* fix: "),
        ("mine:dumb", "what mine:dumb returns has no method encode. fix: "),
        ("no_such_module:load", "there is no module no_such_module"),
        ("mine:broken", r"what mine:broken returns has no dim \(int\)"),
    ],
)
def test_what_is_wrong_is_said(module, name, message):
    with pytest.raises(XmgError, match=message):
        load_encoder(name)


def test_its_own_errors_pass_through(module):
    with pytest.raises(ValueError, match="my own fault"):
        load_encoder("mine:failing")


@pytest.fixture
def extracted(module):
    """Extract two texts with mine:load, loaded anew."""
    (module / "texts.csv").write_text("id,text\na,banana\nb,sky\n")

    def run(**options):
        forget()
        encoder = load_encoder("mine:load")
        return extract(
            open_source(module / "texts.csv", "text"), encoder, module / "o.h5", **options
        )

    return run


def edited(path, old, new):
    path.write_text(path.read_text().replace(old, new))


def test_edited_code_makes_other_features(module, extracted):
    first = extracted()
    assert extracted().fingerprint == first.fingerprint
    edited(module / "mine.py", 'count("a")', 'count("y")')
    with pytest.raises(
        XmgError, match=r"other features: preprocessing\.code is .*\nfix: .*--overwri"
    ):
        extracted()
    np.testing.assert_array_equal(extracted(existing="overwrite").features, [[6, 0], [3, 1]])


def test_code_in_the_module_of_the_class_counts(module, extracted):
    (module / "mine.py").rename(module / "base.py")
    (module / "other.py").write_text("from base import load\n")
    (module / "mine.py").write_text("from other import load\n")
    code = extracted().spec.preprocessing["code"]
    edited(module / "base.py", "characters", "letters")
    assert extracted(existing="overwrite").spec.preprocessing["code"] != code


def test_what_an_encoder_says_of_its_code_counts_alone(module, extracted):
    edited(module / "mine.py", '{"unit": "characters"}', '{"unit": "characters", "code": "2"}')
    first = extracted()
    assert first.spec.preprocessing["code"] == "2"
    edited(module / "mine.py", "class Half", "# another comment\nclass Half")
    assert extracted().fingerprint == first.fingerprint
    edited(module / "mine.py", '"code": "2"', '"code": "3"')
    with pytest.raises(XmgError, match=r'code is "2", would be "3"'):
        extracted()


def test_line_endings_are_no_edit(module, extracted):
    first = extracted()
    (module / "mine.py").write_bytes((module / "mine.py").read_bytes().replace(b"\n", b"\r\n"))
    assert extracted().fingerprint == first.fingerprint


def test_a_model_refuses_edited_code(module, extracted):
    spec = extracted().spec
    assert same_encoder(spec, name="mine:load").name == "length"
    edited(module / "mine.py", 'count("a")', 'count("y")')
    forget()
    with pytest.raises(XmgError, match=r"not the encoder that made the features: recipe\.code is"):
        same_encoder(spec, name="mine:load")


def test_an_encoder_of_xmg_in_a_function_of_ones_own(module):
    (module / "mine.py").write_text(
        "from xmg.extract.encoders import load_encoder\n"
        "def load(): return load_encoder('char-ngrams')\n"
    )
    encoder = load_encoder("mine:load")
    assert encoder.name == "char-ngrams" and len(encoder.preprocessing["code"]) == 16
    assert encoder.dim == 2048 and encoder.encode([encoder.decode("a text")])[0].shape == (2048,)
