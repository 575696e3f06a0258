import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from threadpoolctl import threadpool_limits

from xmg.cache import XmgError, decode
from xmg.extract.encoders import load_encoder
from xmg.extract.pipeline import extract
from xmg.extract.sources import open_source
from xmg.extract.types import Content, Modality, RejectError, Sample, Source


class Counting:
    """Features of the text "7" are (7, 14); decoding is slow, out of order, and counted."""

    name = "counting"
    modality: Modality = "text"
    dim = 2
    sequences = False
    batch_size = 4
    weights_sha256 = ""
    preprocessing: Mapping[str, Any] = {"sizes": (1, 2)}

    def __init__(self, pace: float = 0.003) -> None:
        self.pace = pace
        self.batches: list[int] = []
        self.ahead = self.most_ahead = 0
        self.lock = threading.Lock()

    def decode(self, content: Content) -> int:
        with self.lock:
            self.ahead += 1
            self.most_ahead = max(self.most_ahead, self.ahead)
        if content == "bad":
            raise RejectError("this one is bad")
        if content == "worse":
            raise KeyError("a bug in some library\nwith a traceback")
        time.sleep(self.pace * (int(content) % 3))
        return int(content)

    def encode(self, batch: Sequence[int]) -> Sequence[np.ndarray]:
        self.batches.append(len(batch))
        with self.lock:
            self.ahead -= self.batch_size
        return [np.array([n, 2 * n], np.float32) for n in batch]


def numbers(n: int, name: str = "numbers") -> Source:
    labels = ["odd" if i % 2 else None for i in range(n)]
    samples = [Sample(f"id{i}", str(i), label) for i, label in enumerate(labels)]
    return Source(name, samples, {"double": [str(2 * i) for i in range(n)]})


@pytest.mark.parametrize("workers", [1, 7])
def test_order_labels_and_columns(tmp_path, workers):
    file = extract(numbers(37), Counting(), tmp_path / "out.h5", n_workers=workers)
    assert decode(file.ids) == [f"id{i}" for i in range(37)]
    np.testing.assert_array_equal(file.features, [[i, 2 * i] for i in range(37)])
    assert file.features.dtype == np.float16
    assert file.labels.tolist() == [-1, 0] * 18 + [-1]
    assert decode(file.column("double"))[5] == "10"
    assert file.dataset == "numbers"
    assert set(file.provenance["versions"]) == {"numpy", "torch"}


def test_bad_inputs_are_listed_and_the_run_goes_on(tmp_path):
    contents = [
        "0",
        "bad",
        "2",
        "worse",
        "bad",
        "bad",
        "bad",
        "bad",
        "bad",
        "bad",
        "bad",
        "bad",
        "12",
    ]
    source = Source("mixed", [Sample(f"id{i}", text, "x") for i, text in enumerate(contents)])
    encoder = Counting()
    file = extract(source, encoder, tmp_path / "out.h5")
    assert decode(file.ids) == ["id0", "id2", "id12"]
    assert file.features[:, 0].tolist() == [0, 2, 12]
    assert file.rejects[0] == ("id1", "this one is bad")
    assert file.rejects[1] == ("id3", "KeyError: 'a bug in some library\\nwith a traceback'")
    assert len(file.rejects) == 10
    assert encoder.batches == [2, 1]  # a batch of rejects is not encoded


def test_progress_and_batches(tmp_path):
    seen = []
    encoder = Counting()
    extract(numbers(10), encoder, tmp_path / "a.h5", progress=lambda *done: seen.append(done))
    assert seen == [(4, 10), (8, 10), (10, 10)]
    assert encoder.batches == [4, 4, 2]


def test_look_ahead_is_bounded(tmp_path):
    class Slow(Counting):
        def encode(self, batch):
            time.sleep(0.01)
            return super().encode(batch)

    encoder = Slow()
    extract(numbers(120), encoder, tmp_path / "a.h5", n_workers=3)
    assert encoder.most_ahead <= 4 * (1 + 2 + 1)  # encoded, two for each worker, in hand


def test_a_bug_in_encode_propagates_and_loses_nothing(tmp_path):
    class Broken(Counting):
        def encode(self, batch):
            if len(self.batches) == 1:
                raise MemoryError("out of memory")
            return super().encode(batch)

    encoder: Counting = Broken()
    with pytest.raises(MemoryError):
        extract(numbers(10_000), encoder, tmp_path / "a.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5.partial"]
    assert encoder.ahead < 50  # the other inputs were not read for nothing
    told: list[str] = []
    encoder = Counting(pace=0)
    file = extract(numbers(10_000), encoder, tmp_path / "a.h5", notify=told.append)
    assert told[0].startswith("going on: an earlier run did 4 of 10,000 inputs")
    assert sum(encoder.batches) == 9_996
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]
    np.testing.assert_array_equal(file.features[:, 0], np.arange(10_000, dtype=np.float16))


def test_an_encoder_that_loses_rows_is_a_bug(tmp_path):
    class Losing(Counting):
        def encode(self, batch):
            return super().encode(batch)[1:]

    with pytest.raises(XmgError, match=r"counting gave 3 rows for 4 inputs\. fix: "):
        extract(numbers(10), Losing(), tmp_path / "a.h5")


def test_the_same_again_is_a_no_op(tmp_path):
    out = tmp_path / "a.h5"
    extract(numbers(9), Counting(), out)
    before = out.stat().st_mtime_ns, out.read_bytes()
    encoder = Counting()
    assert len(extract(numbers(9), encoder, out)) == 9
    assert (out.stat().st_mtime_ns, out.read_bytes()) == before
    assert encoder.batches == []


class Renamed(Counting):
    name = "renamed"
    preprocessing: Mapping[str, Any] = {"sizes": (1, 3)}


@pytest.mark.parametrize(
    ("source", "encoder", "dtype", "reasons"),
    [
        (numbers(9, "others"), Counting(), "float16", ['dataset is "numbers", would be "others"']),
        (numbers(9), Counting(), "float32", ['dtype is "float16", would be "float32"']),
        (numbers(8), Counting(), "float16", [r"1 input is gone \('id8'\)"]),
        (numbers(9), Renamed(), "float16",
         ['encoder is "counting", would be "renamed"',
          r"preprocessing.sizes is \[1, 2\], would be \[1, 3\]"]),
    ],
)  # fmt: skip
def test_other_features_are_not_overwritten(tmp_path, source, encoder, dtype, reasons):
    out = tmp_path / "a.h5"
    extract(numbers(9), Counting(), out)
    for reason in reasons:
        with pytest.raises(XmgError, match=f"{reason}(.|\n)*fix: .*--overwrite"):
            extract(source, encoder, out, dtype=dtype)
    assert extract(source, encoder, out, dtype=dtype, existing="overwrite").encoder == encoder.name


def test_an_output_that_is_no_feature_file(tmp_path):
    (tmp_path / "a.h5").write_text("precious notes")
    with pytest.raises(XmgError, match="is no feature file, and stays"):
        extract(numbers(3), Counting(), tmp_path / "a.h5")
    assert (tmp_path / "a.h5").read_text() == "precious notes"


def test_nothing_readable(tmp_path):
    with pytest.raises(
        XmgError, match=r"no input could be encoded .*this one is bad\). fix: check"
    ):
        extract(Source("bad", [Sample("a", "bad")]), Counting(), tmp_path / "a.h5")


def test_sequences(tmp_path):
    rng = np.random.default_rng(0)
    lengths = (1600, 16_000, 4000)
    for i, n in enumerate(lengths):
        soundfile.write(tmp_path / f"{i}.wav", rng.normal(0, 0.1, n), 16_000)
    file = extract(open_source(tmp_path, "audio"), load_encoder("logmel40"), tmp_path / "a.h5")
    assert np.diff(file.offsets).tolist() == [1 + n // 160 for n in lengths]


def test_real_clips_among_broken_ones(real, tmp_path):
    clips = sorted((real("esc50") / "audio").iterdir())[:5]
    for label, clip in zip("aabbb", clips, strict=True):
        (tmp_path / label).mkdir(exist_ok=True)
        (tmp_path / label / clip.name).symlink_to(clip)
    (tmp_path / "a" / "broken.wav").write_text("no sound at all")
    (tmp_path / "b" / "cut.ogg").write_bytes(clips[0].read_bytes()[:100])
    encoder = load_encoder("yamnet", weights=real("weights/yamnet.safetensors"), device="cpu")
    file = extract(open_source(tmp_path, "audio"), encoder, tmp_path / "out.h5", dtype="float32")
    assert [Path(name).name for name in decode(file.ids)] == [clip.name for clip in clips]
    assert [name for name, _ in file.rejects] == ["a/broken.wav", "b/cut.ogg"]
    assert set(file.provenance["versions"]) == {"numpy", "soundfile", "soxr", "torch"}
    expected = [encoder.encode([encoder.decode(clip)])[0] for clip in clips]
    np.testing.assert_allclose(file.features, expected, rtol=1e-4, atol=1e-5)


class SideBySide(Counting):
    """Encodes three batches at once, the first ones slowest, and notes the threads it may use."""

    at_once = 3

    def __init__(self) -> None:
        super().__init__(0)
        self.barrier = threading.Barrier(3)
        self.threads: set[int] = set()

    def encode(self, batch: Sequence[int]) -> Sequence[np.ndarray]:
        self.barrier.wait(timeout=30)  # nobody goes on before three are here
        self.threads.add(torch.get_num_threads())
        time.sleep(0.05 / (1 + batch[0]))
        return super().encode(batch)


def test_batches_are_encoded_side_by_side(tmp_path, set_torch_threads):
    set_torch_threads(6)
    encoder = SideBySide()
    file = extract(numbers(36), encoder, tmp_path / "a.h5", n_workers=2)
    assert encoder.threads == {2}  # an even share
    assert torch.get_num_threads() == 6
    np.testing.assert_array_equal(file.features, [[i, 2 * i] for i in range(36)])


def test_a_failure_of_one_of_them_ends_the_run(tmp_path):
    class Failing(SideBySide):
        def encode(self, batch):
            rows = super().encode(batch)
            if batch[0] == 12:
                self.barrier.abort()
                raise MemoryError("no memory is left on the device")
            return rows

    with pytest.raises(MemoryError, match="no memory"):
        extract(numbers(36), Failing(), tmp_path / "a.h5", n_workers=2)
    assert not (tmp_path / "a.h5").exists()
    file = extract(numbers(36), SideBySide(), tmp_path / "b.h5", n_workers=2)
    whole = extract(numbers(36), Counting(0), tmp_path / "a.h5")  # goes on
    np.testing.assert_array_equal(file.features, whole.features)


def test_no_bit_depends_on_the_number_of_cores(tmp_path, set_torch_threads):
    rng = np.random.default_rng(0)
    samples = [Sample(str(i), tmp_path / f"{i}.wav") for i in range(24)]
    for sample in samples:
        soundfile.write(sample.content, rng.normal(scale=0.1, size=80_000), 16_000)
    files = []
    for n in (1, 2, 4):
        set_torch_threads(n)
        path = tmp_path / f"{n}.h5"
        with threadpool_limits(n, "blas"):
            extract(Source("s", samples), load_encoder("logmel40-stats"), path, n_workers=n)
        files.append(path.read_bytes())
    assert files[0] == files[1] == files[2]
