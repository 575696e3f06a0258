"""`xmg demo` as a newcomer runs it, and the promise of README's first screen."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


def xmg(*words):
    command = [sys.executable, "-m", "xmg.cli.main", *map(str, words)]
    return subprocess.run(command, check=True, capture_output=True, text=True)


def test_demo(tmp_path):
    demo = xmg("demo", "--folder", tmp_path, "--n-runs", 1)  # README has three
    assert "CROMA" in demo.stdout and f"run folder: {tmp_path / 'run-0'}" in demo.stdout
    assert "next:" in demo.stdout and "$ xmg meta-train" in demo.stderr
    rows = json.loads(xmg("evaluate", tmp_path / "run-0", "--shots", "1,5", "--json").stdout)
    mean = {(row["system"], row["shots"]): row["mean"] for row in rows}
    for k, margin in ((1, 0.15), (5, 0.10)):
        rivals = ("pre-training", "class mean, raw", "class mean, whitened")
        assert mean["CROMA", k] > max(mean[rival, k] for rival in rivals) + margin
