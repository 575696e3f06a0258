"""What goes to stderr as JSON lines, for machines that follow a long command."""

import io
import json
import re
import threading
from datetime import UTC, datetime
from typing import TextIO


class Events(io.TextIOBase):
    """Stands in for sys.stderr: one object a line, whoever writes.

    Each has the keys time (UTC, ISO 8601), command, event, task, done, total and note, null where
    they say nothing. event is "progress", "status", "hint" or "error"; what libraries write comes
    as "output", line by line.
    """

    encoding = "utf-8"

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.command = stream, ""
        self._rest = ""
        self._lock = threading.RLock()

    def emit(
        self,
        event: str,
        note: str | None = None,
        *,
        task: str | None = None,
        done: int | None = None,
        total: int | None = None,
    ) -> None:
        """Write one event."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": now, "command": self.command, "event": event, "task": task}
        text = json.dumps({**line, "done": done, "total": total, "note": note})
        with self._lock:
            self.stream.write(text + "\n")
            self.stream.flush()

    def write(self, text: str) -> int:
        """Take what a library prints; a line that it rewrites in place counts as several."""
        with self._lock:
            *lines, self._rest = re.split(r"[\r\n]+", self._rest + text)
            for line in filter(str.strip, lines):
                self.emit("output", line.rstrip())
        return len(text)

    def finish(self) -> TextIO:
        """Tell a last line without an end; returns the stream that this stood in for."""
        self.write("\n")
        return self.stream

    def writable(self) -> bool:
        """Always."""
        return True

    def fileno(self) -> int:
        """The descriptor behind, which child processes inherit."""
        return self.stream.fileno()
