"""When a process of torchrun ends, none of its threads waits for an interpreter that is gone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RANK = """
import atexit
import sys
from pathlib import Path

import torch.distributed as dist

if sys.argv[1] == "engine":
    from xmg.engine.config import make_config
    from xmg.engine.training.ranks import joined

    ranks = joined(make_config(source="s.h5", target="t.h5", meta_batch=2), ordinary=False)
else:
    from xmg.extract.ranks import joined

    ranks = joined()
assert ranks.exchange(str(ranks.rank)) == ["0", "1"]
import torch.distributed.nn  # as torch.compile and the batched solver do

threads = lambda: [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
assert any("gloo" in name for name in threads())
atexit.unregister(dist.destroy_process_group)
dist.destroy_process_group()
left = [name for name in threads() if "gloo" in name]
assert not left, left
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are listed in /proc")
@pytest.mark.parametrize("room", ["engine", "extract"])
def test_no_thread_of_a_group_is_left(tmp_path, room):
    (tmp_path / "rank.py").write_text(RANK)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    found = subprocess.run(
        [*torchrun, "rank.py", room], cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
