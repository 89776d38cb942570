"""What `antiphon run --workers N` starts: the same command N times, each a worker of its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def worker_command(arguments: Sequence[str], number: int, health: int | None) -> list[str]:
    """The command of worker `number`: the given one, for one process, with a port of its own for probes."""
    own = ["--worker", str(number), "--workers", "1", *(["--health", str(health + number)] if health else [])]
    return [sys.executable, "-m", "antiphon", *(each for each in arguments if each != "--reload"), *own]
