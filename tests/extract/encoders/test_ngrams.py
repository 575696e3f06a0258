"""Hashed n-grams: unit rows of any script, each a function of its own text alone."""

import numpy as np
import numpy.testing as npt
import pytest

from xmg.extract.encoders.ngrams import load
from xmg.extract.types import RejectError


def encode(*texts):
    encoder = load()
    return np.asarray(encoder.encode([encoder.decode(text) for text in texts]))


def test_rows_have_unit_length_and_do_not_depend_on_their_company():
    texts = ("Deutschland, Frankreich", "日本", "Ελλάδα", "საქართველო", "a")
    rows = encode(*texts)
    assert rows.shape == (5, load().dim) and rows.dtype == np.float32
    npt.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-6)
    npt.assert_array_equal(rows[3], encode(texts[3])[0])


def test_shared_strings_bring_texts_together():
    a, b, c = encode("Vereinigte Staaten", "Vereinigtes Königreich", "日本国")
    assert a @ b > abs(a @ c) + 0.2


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_text_is_rejected(text):
    with pytest.raises(RejectError):
        load().decode(text)
