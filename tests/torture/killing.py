"""How a victim is started, and killed at a moment nobody chose."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta

Victim = subprocess.Popen[str]


@contextmanager
def victim(*arguments: str) -> Generator[Victim]:
    """A process of `tests.torture.victims`; whatever is left of it is killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.torture.victims", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def kill_within(process: Victim, longest: timedelta) -> str:
    """SIGKILL it after a random moment; returns all that it had printed."""
    time.sleep(random.uniform(0, longest.total_seconds()))
    process.kill()
    output, _ = process.communicate()
    return output
