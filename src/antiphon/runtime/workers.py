"""How one program becomes several processes that are started, watched, started again and stopped together."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import FrameType

from antiphon.events.amounts import show_duration

log = logging.getLogger("antiphon.run")

MISUSED = 2
_LOOK = timedelta(milliseconds=200)
_FIRST_PAUSE = timedelta(seconds=1)
_LONGEST_PAUSE = timedelta(seconds=30)
_HEALTHY_AFTER = timedelta(seconds=10)
"""A worker that lived so long has started well; its next fall is a first one again."""
_WATCHED = frozenset({".py", ".sql", ".toml"})
_UNWATCHED = frozenset({".git", ".venv", "venv", "__pycache__", "node_modules", ".antiphon"})


WORKER_VARIABLE = "_ANTIPHON_WORKER"
"""Set in a process that `run(..., workers=N)` started: its number."""


def worker_number() -> int | None:
    """Which worker of a program this process is, or None when it is the program itself."""
    number = os.environ.get(WORKER_VARIABLE)
    return None if number is None else int(number)


def same_program(count: int) -> Supervisor:
    """A supervisor of `count` processes that run what this process was told to run."""
    command = [sys.executable, *sys.orig_argv[1:]]
    return Supervisor(Worker(command, {WORKER_VARIABLE: str(number)}) for number in range(count))


def stop_when_orphaned() -> None:
    """Drain this process when its supervisor is gone, however that ended: standard input then ends."""

    def wait() -> None:
        while os.read(0, 1024):  # not sys.stdin, whose lock a waiting thread would hold while the process ends
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="antiphon orphan watch", daemon=True).start()


class Worker:
    """One process, and when it may be started again."""

    def __init__(self, command: Sequence[str], variables: Mapping[str, str] | None = None) -> None:
        self._command = list(command)
        self._environment = {**os.environ, **(variables or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._pause = _FIRST_PAUSE
        self.again_at: float | None = None

    def start(self) -> None:
        # A session of its own: Ctrl-C then reaches the supervisor alone, which drains the workers once.
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, start_new_session=True, env=self._environment
        )
        self._started, self.again_at = time.monotonic(), None

    def poll(self) -> int | None:
        """Its exit code once it ended."""
        return None if self._process is None else self._process.poll()

    def fell(self) -> timedelta:
        """Note that it ended by itself; returns how long to wait before it starts again."""
        lived = timedelta(seconds=time.monotonic() - self._started)
        pause = _FIRST_PAUSE if lived > _HEALTHY_AFTER else self._pause
        self._pause = min(pause * 2, _LONGEST_PAUSE)
        self.again_at = time.monotonic() + pause.total_seconds()
        self._process = None
        return pause

    def send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def wait(self) -> None:
        if self._process is not None:
            self._process.wait()
            self._process = None


class Supervisor:
    """Runs workers until it is told to stop; one that falls is started again after a pause.

    A worker that ends with `MISUSED` was told something it cannot do: then all stop, with that exit code.
    """

    def __init__(self, workers: Iterable[Worker]) -> None:
        self._workers = list(workers)
        self._signals = 0

    def run(self, watched: Path | None = None) -> int:
        """Returns when all have stopped. With `watched`, all are started anew whenever a file below it changes."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._signalled)
        for worker in self._workers:
            worker.start()
        seen = _changed(watched)
        while not self._signals:
            time.sleep(_LOOK.total_seconds())
            misused = self._look_after(waits_for_change=watched is not None)
            if misused is not None:
                return self._stop(misused)
            if watched is not None and seen != (seen := _changed(watched)):
                log.info("a file changed: starting again")
                self._restart()
        return self._stop(0)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        for worker in self._workers:
            worker.send(signal.SIGTERM)

    def _look_after(self, *, waits_for_change: bool) -> int | None:
        """Start again what fell. Returns the exit code when starting again cannot help."""
        for worker in self._workers:
            code = worker.poll()
            if code is not None and waits_for_change:
                worker.wait()
            elif code == MISUSED:
                return code
            elif code is not None and not self._signals:
                log.error("a worker ended with code %d; it starts again in %s", code, show_duration(worker.fell()))
            elif worker.again_at is not None and time.monotonic() >= worker.again_at:
                worker.start()
        return None

    def _restart(self) -> None:
        self._end_all()
        if not self._signals:
            for worker in self._workers:
                worker.start()

    def _stop(self, code: int) -> int:
        self._end_all()
        return code

    def _end_all(self) -> None:
        for worker in self._workers:
            worker.send(signal.SIGTERM)
        for worker in self._workers:
            worker.wait()


def _changed(folder: Path | None) -> dict[str, float]:
    """When each watched file below `folder` was last changed."""
    if folder is None:
        return {}
    found: dict[str, float] = {}
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _UNWATCHED]
        for name in files:
            if Path(name).suffix in _WATCHED:
                path = Path(place, name)
                found[str(path)] = path.stat().st_mtime if path.exists() else 0.0
    return found
