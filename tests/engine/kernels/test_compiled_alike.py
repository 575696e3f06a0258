"""The process that compiles kernels and those that load them later round alike."""

import os
import subprocess
import sys

CODE = """
import hashlib
import torch
from xmg.engine.config import make_config
from xmg.engine.data.inputs import Episode
from xmg.engine.methods.croma import CROMA
from xmg.engine.training.meta_learn import meta_iteration

rng = torch.Generator().manual_seed(0)
rows = [torch.randn(*shape, generator=rng) for shape in ((8, 160), (8 + 5 * 16, 640), (25, 160))]
episode = Episode(*rows, torch.arange(5).repeat_interleave(5), 4)
for optimizer, solver in (("adam", "direct"), ("sgd", "direct"), ("sgd", "span")):
    config = make_config(
        source="s.h5", target="t.h5", optimizer=optimizer, solver=solver, negatives="step",
        n_negatives=16, inner_steps=5,
    )
    theta = {
        "source": torch.randn(160, 256, generator=rng) / 12,
        "target": torch.randn(640, 256, generator=rng) / 25,
        "phi": torch.zeros(256, 5),
    }
    for _ in range(2):
        meta_iteration(theta, {}, [episode], CROMA.stages, config)
    print(*(hashlib.sha256(value.numpy().tobytes()).hexdigest() for value in theta.values()))
"""


def test_compiled_and_loaded_kernels_end_at_the_same_weights(tmp_path):
    """A function may be optimized once alone and once inside another, and it is not sure which one
    runs: what may be rounded in two ways would be."""
    setting = {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_DISABLE_JIT": "0"}
    found = [
        subprocess.run(
            [sys.executable, "-c", CODE], env={**os.environ, **setting}, capture_output=True,
            text=True, check=True,
        ).stdout
        for _ in range(2)
    ]  # fmt: skip
    assert len(found[0].split()) == 9 and found[0] == found[1]
