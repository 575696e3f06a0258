import sys

import numpy as np
import pytest

from xmg.cache import XmgError
from xmg.extract.encoders import load_encoder
from xmg.extract.pipeline import extract
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
def failing(): raise ValueError("my own fault")
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    yield tmp_path
    sys.modules.pop("mine", None)


def test_an_encoder_of_ones_own(module):
    (module / "texts.csv").write_text("id,text,label\na,banana,fruit\nb,sky,thing\n")
    encoder = load_encoder("mine:load")
    file = extract(open_source(module / "texts.csv", "text"), encoder, module / "o.h5")
    np.testing.assert_array_equal(file.features, [[6, 3], [3, 0]])
    assert file.encoder == "length"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mine:absent", "mine has no function absent"),
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
