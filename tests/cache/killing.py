"""Kill extractions with SIGKILL at random moments and take them up again.

    python killing.py FOLDER N_KILLS SEQUENCES

Prints what happened as JSON. Runs alone in a process without threads, so that it may fork.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np

from xmg.cache import FeatureFile, XmgError
from xmg.cache.writing import rows
from xmg.extract.pipeline import extract
from xmg.extract.types import RejectError, Sample, Source

N, BATCH, DIM = 600, 8, 96
SECONDS = 0.4  # of an undisturbed run, about
SOURCE = Source("numbers", [Sample(f"id{i}", str(i), f"class{i % 7}") for i in range(N)])


class Slow:
    """Counts in a file, as its memory dies with it."""

    name, modality, dim, batch_size = "slow", "text", DIM, BATCH
    weights_sha256 = ""

    def __init__(self, sequences: bool, log: Path) -> None:
        self.sequences, self.log, self.preprocessing = sequences, log, {}

    def decode(self, content):
        if int(content) % 97 == 13:
            raise RejectError("unlucky")
        return int(content)

    def encode(self, batch):
        time.sleep(SECONDS * BATCH / N)
        with open(self.log, "a") as log:
            log.write(f"{len(batch)}\n")
        rows_of = [np.random.default_rng(i).normal(size=(1 + i % 5, DIM)) for i in batch]
        return [r.astype("f4") if self.sequences else r[0].astype("f4") for r in rows_of]


def in_child(work) -> int:
    """Fork; the child does the work and nothing else."""
    child = os.fork()
    if not child:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    return child


def main(folder: Path, n_kills: int, sequences: bool) -> dict[str, int]:
    rows._COMMIT_SECONDS = 0.02
    out, reference, log = folder / "a.h5", folder / "reference.h5", folder / "log"
    os.waitpid(in_child(lambda: extract(SOURCE, Slow(sequences, folder / "-"), reference)), 0)
    whole = reference.read_bytes()
    found = dict.fromkeys(("kills", "finished", "partial_seen", "other_bytes", "encoded"), 0)
    rng = random.Random(sequences)
    while found["kills"] < n_kills or not found["finished"]:
        child = in_child(lambda: extract(SOURCE, Slow(sequences, log), out))
        if found["kills"] < n_kills:
            time.sleep(rng.uniform(0, 0.8 * SECONDS))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        found["kills"] += os.WIFSIGNALED(status)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status):
            raise SystemExit("a run failed")
        if out.exists():
            try:
                FeatureFile(out)
            except XmgError:
                found["partial_seen"] += 1
            found["finished"] += 1
            found["other_bytes"] += out.read_bytes() != whole
            if found["kills"] < n_kills:
                out.unlink()
    found["encoded"] = sum(map(int, log.read_text().split()))
    return found | {"inputs": N * found["finished"], "in_flight": 16 * BATCH}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), bool(int(sys.argv[3])))))
