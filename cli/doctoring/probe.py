"""Have packages tried in processes of their own, and gather what came of it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final

TIMEOUT_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a trial told: facts, or the error that ended it.

    untried: what the package needs does not load, as the error says.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    untried: bool = False


def outcomes(lanes: Sequence[Sequence[str]], timeout: float = TIMEOUT_S) -> dict[str, Outcome]:
    """Try the modules of each lane in turn, the lanes side by side.

    One that raises, kills its process or takes longer than `timeout` seconds, with those before
    it, has an error; the others are tried in a new process. The first of a lane is what they all
    need: where it fails, none of them is tried.
    """
    trials = _Trials()
    with ThreadPoolExecutor(max(1, len(lanes))) as pool:
        try:
            found = list(pool.map(lambda lane: dict(_lane(lane, timeout, trials)), lanes))
        except BaseException:  # such as Ctrl-C, which waits for no package that hangs
            trials.end()
            raise
    return {name: outcome for lane in found for name, outcome in lane.items()}


class _Trials:
    """The processes under way, so that they can be ended; after that none begins."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self.ended = False

    def begin(self, words: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Raises CancelledError once all are ended."""
        with self._lock:
            if self.ended:
                raise CancelledError
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env=env,
            )  # fmt: skip
            self._running.add(process)
            return process

    def end(self) -> None:
        with self._lock:
            self.ended = True
            for process in self._running:
                process.kill()


def _lane(modules: Sequence[str], timeout: float, trials: _Trials) -> Iterator[tuple[str, Outcome]]:
    left = list(modules)
    while left:
        lines, how = _run(left, timeout, trials)
        ended = {line["end"]: line for line in lines if "end" in line}
        for name, line in ended.items():
            yield name, Outcome(line.get("facts", {}), line.get("error"))
        begun = [line["begin"] for line in lines if "begin" in line and line["begin"] not in ended]
        stuck = begun or ([] if ended else left[:1])  # the first, where not even that was said
        yield from ((name, Outcome(error=how)) for name in stuck)
        left = [name for name in left if name not in ended and name not in stuck]
        if modules[0] in stuck or ended.get(modules[0], {}).get("error"):
            skipped = Outcome(error=f"{modules[0]} does not load", untried=True)
            yield from ((name, skipped) for name in left)
            return


def _run(
    modules: Sequence[str], timeout: float, trials: _Trials
) -> tuple[list[dict[str, Any]], str]:
    """Return the lines of a process that tries these, and how it ended."""
    words = [sys.executable, "-P", "-m", "xmg.cli.doctoring.trials", *modules]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with trials.begin(words, env) as process:
        try:
            out, err = process.communicate(timeout=timeout)
            how = _ending(process.returncode, err)
        except subprocess.TimeoutExpired:
            process.kill()
            out, _ = process.communicate()
            how = f"does not load within {timeout:g} s"
    return [json.loads(line) for line in out.splitlines(keepends=True) if line[-1:] == b"\n"], how


def _ending(status: int, err: bytes) -> str:
    """Such as `its process died of SIGSEGV`, with the last line that it wrote."""
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        return f"its process died of {name}"
    last = err.decode("utf-8", "replace").strip().rpartition("\n")[2]
    return f"its process ended with status {status}" + (f": {last}" if last else "")
