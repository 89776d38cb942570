"""How a victim is started, and killed at a moment nobody chose."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta

Victim = subprocess.Popen[bytes]


@contextmanager
def victim(*arguments: str, module: str = "tests.torture.victims") -> Generator[Victim, None, None]:
    """A process of this module; whatever is left of it is killed at the end."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def kill_within(process: Victim, longest: timedelta) -> None:
    """SIGKILL it after a random moment; returns once it is gone."""
    time.sleep(random.uniform(0, longest.total_seconds()))
    process.kill()
    process.wait()
