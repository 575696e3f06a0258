"""`xmg extract`, killed again and again, as a person would type it."""

import random
import signal
import subprocess
import sys
import time

import pytest

from xmg.cache import FeatureFile, XmgError
from xmg.cache.verify import damages

N_KILLS = 4


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["logmel40-stats", "logmel40"])
def test_a_killed_extraction_goes_on(real, tmp_path, encoder):
    """Real clips; the finished file has the bytes of a run that nobody disturbed."""
    audio = real("esc50")
    out, reference = tmp_path / "a.h5", tmp_path / "reference.h5"

    def command(output):
        return [sys.executable, "-m", "xmg.cli.main", "extract", audio, "-e", encoder, "-o", output]

    began = time.monotonic()
    subprocess.run(command(reference), check=True, capture_output=True)
    seconds = time.monotonic() - began
    rng, n_killed, said = random.Random(0), 0, ""
    while not out.exists():
        process = subprocess.Popen(command(out), stderr=subprocess.PIPE, text=True)
        if n_killed < N_KILLS:
            time.sleep(rng.uniform(0.3, 0.7) * seconds)
            process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
        said += errors
        n_killed += process.returncode == -signal.SIGKILL
        assert process.returncode in (0, -signal.SIGKILL), errors
        if not out.exists():
            with pytest.raises(XmgError):
                FeatureFile(out)
    assert n_killed > 1
    assert "going on: a run begun" in said
    assert out.read_bytes() == reference.read_bytes()
    assert not list(damages(FeatureFile(out)))
    again = subprocess.run(command(out), check=True, capture_output=True, text=True)
    assert "nothing to do" in again.stderr
