"""How many cores there are to work with."""

import os


def cores() -> int:
    """Those that this process may use: what a scheduler or taskset gave it, where one did."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
