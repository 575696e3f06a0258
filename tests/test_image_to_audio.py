"""The image -> audio run of README on real photos and sounds, with eight photos of a class."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from xmg.extract.encoders import load_encoder
from xmg.extract.pipeline import extract
from xmg.extract.sources import open_source
from xmg.extract.sources.combined import combine

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
CONCEPTS = ROOT / "examples" / "image_to_audio.toml"
WEIGHTS = DATA / "weights" / "yamnet.safetensors"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not WEIGHTS.exists(), reason=f"real data absent: {DATA}"),
]


def few_of_each_class(source, n):
    kept, seen = [], Counter()
    for sample in source.samples:
        seen[sample.label] += 1
        if seen[sample.label] <= n:
            kept.append(sample)
    return replace(source, samples=kept)


def named_in_concepts(source):
    text = CONCEPTS.read_text()
    return replace(source, samples=[s for s in source.samples if f'"{s.label}"' in text])


def xmg(*words):
    command = [sys.executable, "-m", "xmg.cli.main", *map(str, words)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_photos_and_sounds(tmp_path):
    images, sounds, run = tmp_path / "images.h5", tmp_path / "sounds.h5", tmp_path / "run"
    photos = [open_source(DATA / name, "image") for name in ("caltech101", "cifar10")]
    few = [few_of_each_class(named_in_concepts(p), 8) for p in photos]
    file = extract(combine(few), load_encoder("efficientnet-lite0"), images)
    assert not file.rejects and len(file.classes) > 30
    xmg("extract", DATA / "esc50", "-e", "yamnet", "--weights", WEIGHTS, "-o", sounds)
    protocol = ("--shots", "1,5", "--n-query", "3", "--iterations", "100")
    xmg("meta-train", images, sounds, "--concepts", CONCEPTS, "--run", run, *protocol)
    rows = json.loads(xmg("evaluate", run, "--json"))
    mean = {(row["system"], row["shots"]): row["mean"] for row in rows}
    assert mean["CROMA", 1] > 0.85 and mean["CROMA", 5] > 0.93  # published CROMA: .475, .859
    assert mean["CROMA", 1] > mean["class mean, raw", 1]
