"""`xmg extract`, killed again and again, as a person would type it."""

import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from xmg.cache import FeatureFile, XmgError
from xmg.cache.verify import damages

N_KILLS = 4
N_COPIES = 3  # of the clips, so that there are rows on the disk well before the end


def recorded(folder):
    """Bytes of the journals: what an unfinished file already has on the disk."""
    return sum(path.stat().st_size for path in folder.glob("journal.*"))


def killed_soon_after_more_is_recorded(command, folder, pause):
    """Run a command, and kill it once it has got further; what it said, and its exit status."""
    before = recorded(folder)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and recorded(folder) <= before:
        time.sleep(0.01)
    time.sleep(pause)
    process.send_signal(signal.SIGKILL)
    return process.communicate()[1], process.returncode


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["logmel40-stats", "logmel40"])
def test_a_killed_extraction_goes_on(real, tmp_path, encoder):
    """Real clips; the finished file has the bytes of a run that nobody disturbed."""
    audio = tmp_path / "clips"
    for i in range(N_COPIES):
        shutil.copytree(real("esc50") / "audio", audio / f"copy {i}")
    out, reference = tmp_path / "a.h5", tmp_path / "reference.h5"

    def command(output):
        return [sys.executable, "-m", "xmg.cli.main", "extract", audio, "-e", encoder, "-o", output]

    subprocess.run(command(reference), check=True, capture_output=True)
    rng, said = random.Random(0), ""
    for _ in range(N_KILLS):
        errors, status = killed_soon_after_more_is_recorded(
            command(out), tmp_path / "a.h5.partial", rng.uniform(0, 0.5)
        )
        assert status in (0, -signal.SIGKILL), errors
        said += errors
        if out.exists():
            break
        with pytest.raises(XmgError):
            FeatureFile(out)
    last = subprocess.run(command(out), check=True, capture_output=True, text=True)
    assert "going on: a run begun" in said + last.stderr
    assert out.read_bytes() == reference.read_bytes()
    assert not list(damages(FeatureFile(out)))
    again = subprocess.run(command(out), check=True, capture_output=True, text=True)
    assert "nothing to do" in again.stderr
