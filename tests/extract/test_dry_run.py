"""A dry run says beforehand what an extraction does, and leaves no trace."""

import time

import numpy as np
import pytest
from test_pipeline import Counting, Renamed, numbers

from xmg.cache import XmgError
from xmg.extract.dry_run import dry_run
from xmg.extract.pipeline import extract
from xmg.extract.sources.limited import limit
from xmg.extract.types import Sample, Source


class Dying(Counting):
    def encode(self, batch):
        if self.batches:
            raise MemoryError
        return super().encode(batch)


def interrupted(out, **options):
    with pytest.raises(MemoryError):
        extract(numbers(10), Dying(pace=0), out, **options)


def nothing(out):
    pass


def whole(out):
    extract(numbers(10), Counting(), out)


def part(out):
    extract(limit(numbers(10), 5), Counting(), out)


def others(out):
    extract(numbers(10), Renamed(), out)


def interrupted_others(out):
    interrupted(out, dtype="float32")


def notes(out):
    out.write_text("precious")


def interrupted_update(out):
    part(out)
    interrupted(out, existing="update")


@pytest.mark.parametrize(
    ("before", "existing", "action", "n_left"),
    [
        (nothing, "keep", "new", 10),
        (nothing, "update", "new", 10),
        (nothing, "overwrite", "new", 10),
        (whole, "keep", "nothing to do", 0),
        (whole, "update", "nothing to do", 0),
        (whole, "overwrite", "replace", 10),
        (part, "keep", "refused", 10),
        (part, "update", "update", 5),
        (others, "keep", "refused", 10),
        (others, "update", "refused", 10),
        (interrupted, "keep", "continue", 6),
        (interrupted, "overwrite", "continue", 6),
        (interrupted_others, "keep", "refused", 10),
        (interrupted_others, "overwrite", "new", 10),
        (interrupted_update, "update", "continue", 1),
        (notes, "keep", "refused", 10),
        (notes, "overwrite", "refused", 10),
    ],
)
def test_what_it_says_is_what_is_done(tmp_path, before, existing, action, n_left):
    out = tmp_path / "a.h5"
    before(out)
    trace = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    found = dry_run(numbers(10), Counting(), out, existing=existing)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == trace
    assert (found.action, found.n_left) == (action, n_left)
    encoder = Counting()
    if action == "refused":
        with pytest.raises(XmgError) as error:
            extract(numbers(10), encoder, out, existing=existing)
        assert str(error.value) == found.reason
    else:
        extract(numbers(10), encoder, out, existing=existing)
        assert sum(encoder.batches) == n_left and not found.reason


def test_an_output_that_is_a_folder(tmp_path):
    with pytest.raises(XmgError, match="is a folder"):
        dry_run(numbers(3), Counting(), tmp_path)


def test_numbers_of_the_listing(tmp_path):
    encoder = Counting()
    found = dry_run(numbers(37), encoder, tmp_path / "a.h5", dtype="float32")
    assert encoder.batches == [4, 4]  # one of them to warm up
    assert (found.n_inputs, found.n_classes) == (37, 1)
    assert found.input_bytes == 10 + 2 * 27
    assert found.feature_bytes == 37 * 2 * 4 and not found.is_estimate
    small = Counting()
    dry_run(numbers(2), small, tmp_path / "a.h5")
    assert small.batches == [2, 2]


def test_bytes_of_files_and_pixels(tmp_path):
    class Anything(Counting):
        def decode(self, content):
            return 1

    (tmp_path / "1.txt").write_bytes(b"12345")
    contents = [
        tmp_path / "1.txt",
        tmp_path / "gone",
        tmp_path / "\0",
        np.zeros((2, 2, 3), np.uint8),
        "ä",
    ]
    samples = [Sample(f"id{i}", content) for i, content in enumerate(contents)]
    assert dry_run(Source("s", samples), Anything(), tmp_path / "a.h5").input_bytes == 5 + 12 + 2


def test_sequences_are_estimated_from_the_sample(tmp_path):
    class Frames(Counting):
        sequences = True

        def encode(self, batch):
            return [np.ones((1 + n % 2, 2), np.float32) for n in batch]

    found = dry_run(numbers(39), Frames(), tmp_path / "a.h5")  # the sample: 0, 9, 19, 29
    assert found.is_estimate and found.feature_bytes == round(39 * 1.75 * 2 * 2)


def test_what_cannot_be_decoded_is_told(tmp_path):
    contents = ["bad" if i in (2, 5) else "1" for i in range(8)]
    source = Source("s", [Sample(f"id{i}", text) for i, text in enumerate(contents)])
    found = dry_run(source, Counting(), tmp_path / "a.h5")
    assert found.rejects == [("id2", "this one is bad")]
    nothing_else = Source("s", [Sample("a", "bad")])
    assert dry_run(nothing_else, Counting(), tmp_path / "a.h5").feature_bytes == 4


def test_time_is_that_of_a_warm_encoder(tmp_path):
    class Slow(Counting):
        def encode(self, batch):
            time.sleep(0.1 if self.batches else 2)
            return super().encode(batch)

    found = dry_run(numbers(40), Slow(pace=0), tmp_path / "a.h5")
    assert 1 <= found.seconds < 20  # ten batches of 0.1 s; the first one would make it 20 s
