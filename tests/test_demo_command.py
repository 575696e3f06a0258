"""`xmg demo` as a newcomer runs it, and the promise of README's first screen."""

import json
import statistics
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


def xmg(*words):
    command = [sys.executable, "-m", "xmg.cli.main", *map(str, words)]
    return subprocess.run(command, check=True, capture_output=True, text=True)


def test_demo(tmp_path):
    demo = xmg("demo", "--folder", tmp_path)
    assert "CROMA" in demo.stdout and f"run folder: {tmp_path / 'run-0'}" in demo.stdout
    assert "next:" in demo.stdout and "$ xmg meta-train" in demo.stderr
    runs = [tmp_path / f"run-{seed}" for seed in range(3)]
    rows = json.loads(xmg("evaluate", *runs, "--shots", "1,5", "--json").stdout)

    def mean(system, k):
        found = [r["mean"] for r in rows if (r["system"], r["shots"]) == (system, k)]
        assert len(found) == 3
        return statistics.fmean(found)

    for k, margin in ((1, 0.15), (5, 0.10)):
        rivals = ("pre-training", "class mean, raw", "class mean, whitened")
        assert mean("CROMA", k) > max(mean(rival, k) for rival in rivals) + margin
