import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from xmg.cache import XmgError
from xmg.extract.sources import open_source

FINE = ["apple", "beaver", "cup"]
COARSE = ["fruit", "mammals"]


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (5, 32, 32, 3), np.uint8)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def planes(images):
    """(n, 32, 32, 3) to the published (n, 3072): all red, then green, then blue."""
    return np.stack([np.concatenate([i[:, :, c].ravel() for c in range(3)]) for i in images])


def binary(path: Path, images, *labels) -> None:
    columns = [np.array(values, np.uint8)[:, None] for values in labels]
    path.write_bytes(np.hstack([*columns, planes(images)]).tobytes())


def python2(text: bytes) -> bytes:
    return b"T" + struct.pack("<i", len(text)) + text


def python2_batch(images, **lists) -> bytes:
    """The bytes that Python 2 wrote: str as BINSTRING, numpy's old module names."""
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
        + b"".join(b"J" + struct.pack("<i", n) for n in (len(images), 3072))
        + b"\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNN"
        + b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + python2(planes(images).tobytes()) + b"tb"
    )  # fmt: skip
    items = python2(b"data") + array
    for name, values in lists.items():
        numbers = b"".join(b"K" + bytes([value]) for value in values)
        items += python2(name.encode()) + b"](" + numbers + b"e"
    return b"\x80\x02}(" + items + b"u."


def check(source, images, ids, labels):
    assert [s.id for s in source.samples] == ids
    assert [s.label for s in source.samples] == labels
    for sample, image in zip(source.samples, images, strict=True):
        assert sample.content.dtype == np.uint8
        np.testing.assert_array_equal(sample.content, image)


def test_cifar10_binary(tmp_path, images):
    inner = tmp_path / "cifar-10-batches-bin"
    inner.mkdir()
    (inner / "batches.meta.txt").write_text("\n".join(FINE) + "\n\n")
    binary(inner / "test_batch.bin", images[3:], [1, 1])
    binary(inner / "data_batch_2.bin", images[:3], [0, 2, 1])
    ids = [*(f"data_batch_2/00000{i}" for i in range(3)), "test_batch/000000", "test_batch/000001"]
    labels = ["apple", "cup", "beaver", "beaver", "beaver"]
    check(open_source(tmp_path, "image"), images, ids, labels)
    assert open_source(inner, "image").name == "cifar10"


def test_cifar100_binary(tmp_path, images):
    (tmp_path / "fine_label_names.txt").write_text("\n".join(FINE))
    (tmp_path / "coarse_label_names.txt").write_text("\n".join(COARSE))
    binary(tmp_path / "train.bin", images, [0, 1, 0, 1, 0], [2, 1, 0, 1, 0])
    source = open_source(tmp_path, "image")
    labels = ["cup", "beaver", "apple", "beaver", "apple"]
    check(source, images, [f"train/00000{i}" for i in range(5)], labels)
    assert source.columns == {"coarse": ["fruit", "mammals", "fruit", "mammals", "fruit"]}
    assert source.name == "cifar100"


def test_cifar10_python_as_published(tmp_path, images):
    batch = python2_batch(images, labels=[0, 1, 2, 1, 0])
    trusted = pickle.loads(batch, encoding="latin1")  # noqa: S301 - the twin, of our own bytes
    np.testing.assert_array_equal(trusted["data"], planes(images))
    (tmp_path / "data_batch_1").write_bytes(batch)
    names = b"".join(python2(name.encode()) for name in FINE)
    meta = b"\x80\x02}(" + python2(b"label_names") + b"](" + names + b"eu."
    (tmp_path / "batches.meta").write_bytes(meta)
    labels = ["apple", "beaver", "cup", "beaver", "apple"]
    check(
        open_source(tmp_path, "image"), images, [f"data_batch_1/00000{i}" for i in range(5)], labels
    )


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("order", ["C", "F"])
def test_cifar100_python_written_by_python3(tmp_path, images, protocol, order):
    data = np.asarray(planes(images), order=order)
    batch = {b"data": data, b"fine_labels": [2, 1, 0, 1, 0], "coarse_labels": [0, 1, 0, 1, 0]}
    (tmp_path / "test").write_bytes(pickle.dumps(batch, protocol))
    meta = {"fine_label_names": FINE, "coarse_label_names": COARSE}
    (tmp_path / "meta").write_bytes(pickle.dumps(meta, protocol))
    source = open_source(tmp_path, "image")
    labels = ["cup", "beaver", "apple", "beaver", "apple"]
    check(source, images, [f"test/00000{i}" for i in range(5)], labels)
    assert source.columns["coarse"][0] == "fruit"


class Malicious:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path, protocol):
    marker = tmp_path / "pwned"
    payload = pickle.dumps({"labels": Malicious(marker)}, protocol)
    pickle.loads(payload)  # noqa: S301 - shows that the payload works
    assert marker.exists()
    marker.unlink()
    (tmp_path / "batches.meta").write_bytes(pickle.dumps({"label_names": FINE}))
    (tmp_path / "data_batch_1").write_bytes(payload)
    with pytest.raises(XmgError, match=r"names \S+, which no CIFAR batch holds; it was not loaded"):
        open_source(tmp_path, "image")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [("builtins", "eval"), ("os", "system"), ("numpy", "load"), ("numpy", "memmap"),
     ("numpy.core.multiarray", "scalar"), ("_codecs", "decode"), ("builtins", "getattr")],
)  # fmt: skip
def test_no_other_name_is_looked_up(tmp_path, module, name):
    (tmp_path / "batches.meta").write_bytes(f"c{module}\n{name}\n.".encode())
    (tmp_path / "data_batch_1").touch()
    (tmp_path / "data_batch_1").write_bytes(f"c{module}\n{name}\n.".encode())
    with pytest.raises(XmgError, match=f"names {module}.{name}"):
        open_source(tmp_path, "image")


@pytest.mark.parametrize(
    "batch",
    [
        b"",
        b"not a pickle",
        pickle.dumps([1]),
        pickle.dumps({"labels": [0]}),
        pickle.dumps({"labels": [0], "data": np.zeros((2, 3072), np.uint8)}),
        pickle.dumps({"labels": [0], "data": np.zeros((1, 3072), np.float32)}),
        pickle.dumps({"labels": ["0"], "data": np.zeros((1, 3072), np.uint8)}),
        pickle.dumps({"labels": [9], "data": np.zeros((1, 3072), np.uint8)}),
        pickle.dumps({"labels": [0], "data": np.zeros((1, 3072), np.uint8)})[:-20],
    ],
)
def test_damaged_pickles(tmp_path, batch):
    (tmp_path / "batches.meta").write_bytes(pickle.dumps({"label_names": FINE}))
    (tmp_path / "data_batch_1").write_bytes(batch)
    with pytest.raises(XmgError, match=str(tmp_path)):
        open_source(tmp_path, "image")


@pytest.mark.parametrize("n_bytes", [0, 1, 3072, 3073 * 2 - 1])
def test_truncated_binary(tmp_path, n_bytes):
    (tmp_path / "batches.meta.txt").write_text("\n".join(FINE))
    (tmp_path / "test_batch.bin").write_bytes(bytes(n_bytes))
    with pytest.raises(XmgError, match="not a multiple of 3073"):
        open_source(tmp_path, "image")


def test_real_cifar10(real):
    source = open_source(real("cifar10"), "image")
    labels = [s.label for s in source.samples]
    assert len(labels) == 2500
    assert all(labels.count(name) == 250 for name in set(labels))
    assert {"airplane", "truck"} < set(labels)
    ships, frogs = (
        np.mean([s.content for s in source.samples if s.label == name], (0, 1, 2))
        for name in ("ship", "frog")
    )
    assert ships[2] > ships[0]  # the sea is blue
    assert frogs[2] < frogs[0]
