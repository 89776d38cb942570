"""Processes of their own that use the log, and what they tell."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]


class Child:
    """One process in a role of `member.py`; `told` grows as it tells."""

    def __init__(self, role: str, path: Path, lease: float = 10) -> None:
        command = [sys.executable, "-m", "tests.integration.embedded.member", role, str(path), str(lease)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.told: list[dict[str, Any]] = []
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith("\n"):  # the last one may be cut short by a kill
                self.told.append(json.loads(line))

    def wait_for(self, condition: Callable[[list[dict[str, Any]]], object], seconds: float = 20) -> None:
        """Return once `condition` holds for what was told."""
        deadline = time.monotonic() + seconds
        while not condition(self.told):
            assert self._process.poll() is None, f"the child ended with {self._process.returncode}"
            assert time.monotonic() < deadline, f"it told only {self.told[-5:]}"
            time.sleep(0.005)

    def wait_until_told(self, word: str) -> None:
        self.wait_for(lambda told: any(word in each for each in told))

    def owned(self) -> set[int]:
        """The partitions it owns, by its notices."""
        owned: set[int] = set()
        for each in self.told:
            if each.get("notice") == "assigned":
                owned.update(each["partitions"])
            elif "notice" in each:
                owned.difference_update(each["partitions"])
        return owned

    def read(self) -> list[tuple[int, str, str]]:
        """What it read: number of the partition, position, id."""
        return [(number, position, id) for each in self.told for number, position, id in each.get("read", ())]

    def stop(self) -> None:
        """Hang it."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def kill(self) -> float:
        """Kill it; returns when that was. What it told is complete then. Twice is safe."""
        at = time.time()
        self._process.kill()
        self.wait()
        return at

    def wait(self) -> None:
        self._process.wait()
        self._listener.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
