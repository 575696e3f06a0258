"""A sealed file gives features and nothing that tells classes apart."""

import copy
import pickle

import numpy as np
import numpy.testing as npt
import pytest
import synthetic

from xmg.cache import Sealed, XmgError
from xmg.engine.data.pool import pool_of


@pytest.fixture(params=[False, True], ids=["vectors", "sequences"])
def file(tmp_path, request):
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=(3, 4)).astype("f4") for _ in range(12)]
    columns = {"recording": [f"r{i}" for i in range(12)]}
    x = rows if request.param else np.array([row[0] for row in rows])
    names = synthetic.names(3, 4)
    return synthetic.write(tmp_path / "f.h5", x, names, columns=columns, sequences=request.param)


QUESTIONS = {
    "labels": lambda f: f.labels,
    "classes": lambda f: f.classes,
    "class names": lambda f: f.class_names(),
    "rows of a class": lambda f: f.rows_of(0),
    "class rows": lambda f: f.class_rows,
    "class offsets": lambda f: f.class_offsets,
    "ids": lambda f: f.ids,
    "texts of ids": lambda f: f.texts("ids"),
    "texts of classes": lambda f: f.texts("classes"),
    "a column": lambda f: f.column("recording"),
    "the array of labels": lambda f: f.array("labels"),
    "the array of a column": lambda f: f.array("columns/recording"),
    "a pool of a class": lambda f: pool_of(f, ["c00"]),
    "a pool without rows": lambda f: pool_of(f, ["c00"], np.array([1])),
}


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("kind", ["sealed", "twice", "copied", "pickled"])
def test_no_question_about_classes_is_answered(file, kind, question):
    QUESTIONS[question](file)  # the open file answers, and caches what it may
    one = {
        "sealed": lambda: Sealed(file),
        "twice": lambda: Sealed(Sealed(file)),
        "copied": lambda: copy.copy(Sealed(file)),
        "pickled": lambda: pickle.loads(pickle.dumps(Sealed(file))),  # noqa: S301
    }[kind]()
    with pytest.raises(XmgError):
        QUESTIONS[question](one)


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_refusal_says_what_is_not_allowed(file, question):
    with pytest.raises(XmgError, match=r"labels of this modality must not be read\. fix"):
        QUESTIONS[question](Sealed(file))


def test_features_are_the_same(file):
    one, rows = Sealed(file), np.array([7, 0, 7, 11])
    assert len(one) == len(file) == 12 and one.dim == 4 and one.dtype == file.dtype
    assert one.path == file.path and one.fingerprint == file.fingerprint
    for ours, theirs in zip(one.take(rows), file.take(rows), strict=True):
        npt.assert_array_equal(ours, theirs)


def test_what_it_holds_is_no_label(file):
    held = vars(Sealed(file))
    assert not {"labels", "classes"} & set(held)
    assert not any(isinstance(value, type(file)) for value in held.values())
