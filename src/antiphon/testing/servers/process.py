"""How does a test start a server of its own, wait until it answers, kill it, and leave nothing behind?"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

UNPRIVILEGED = "nobody"
_PR_SET_PDEATHSIG = 1
_PAUSE = timedelta(milliseconds=10)


class ServerError(RuntimeError):
    """A server did not start or stop; the text has the end of its log."""


class ServerMissingError(ServerError):
    """There is nothing to start: the text says what to install."""


class ServerProcess:
    """One child process with a log. On Linux it is killed with the thread that started it, however that ends.

    Some servers refuse to run as root: with `drop_privileges` root's runs as `nobody`.
    """

    def __init__(self, name: str, log: Path, *, drop_privileges: bool = False) -> None:
        self.name, self.log = name, log
        self._user = UNPRIVILEGED if drop_privileges and os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process's number. Raises ServerError when it was never started."""
        if self._process is None:
            raise ServerError(f"{self.name} was not started")
        return self._process.pid

    def give(self, *paths: Path) -> None:
        """Let the server's user own these."""
        if self._user is not None:
            for path in paths:
                shutil.chown(path, self._user)

    def run(self, command: Sequence[str], patience: timedelta) -> None:
        """Run something to its end as the server's user. Raises ServerError."""
        with self.log.open("ab") as log:
            process = self._popen(command, {}, log.fileno())
            if process.wait(patience.total_seconds()) != 0:
                raise ServerError(f"{command[0]} ended with {process.returncode}: {self.last_words()}")

    def start(
        self,
        command: Sequence[str],
        is_ready: Callable[[], bool],
        *,
        environment: Mapping[str, str] | None = None,
        patience: timedelta = timedelta(seconds=30),
    ) -> None:
        """Start it and return when it is ready. Raises ServerError when it ends before, or takes too long."""
        with self.log.open("ab") as log:
            self._process = self._popen(command, environment or {}, log.fileno())
        deadline = time.monotonic() + patience.total_seconds()
        while not is_ready():
            if self._process.poll() is not None:
                raise ServerError(f"{self.name} ended with {self._process.returncode}: {self.last_words()}")
            if time.monotonic() > deadline:
                self.kill()
                raise ServerError(f"{self.name} was not ready within {patience}: {self.last_words()}")
            time.sleep(_PAUSE.total_seconds())

    def stop(self, how: signal.Signals = signal.SIGTERM, patience: timedelta = timedelta(seconds=20)) -> None:
        """Ask it to end, and kill it when it does not in time. Twice is safe."""
        if self._process is None:
            return
        if self.is_running:
            self._process.send_signal(how)
        try:
            self._process.wait(patience.total_seconds())
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it at once, as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def kill_all(self) -> None:
        """As `kill`, and with it whatever it started."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    @property
    def has_others(self) -> bool:
        """Whether anything that it started runs, though it has ended itself."""
        if self._process is None:
            return False
        try:
            os.killpg(self._process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def last_words(self) -> str:
        """The end of its log, on one line."""
        try:
            text = self.log.read_text("utf-8", "replace")
        except OSError:
            return "it has no log"
        return " | ".join(text.splitlines()[-5:]) or "its log is empty"

    def _popen(self, command: Sequence[str], environment: Mapping[str, str], output: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            cwd="/",
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            user=self._user,
            group=None if self._user is None else pwd.getpwnam(self._user).pw_gid,
            extra_groups=None if self._user is None else [],
            preexec_fn=_die_with_parent if _LIBC is not None else None,  # noqa: PLW1509 - one call of the system
        )


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


_LIBC: ctypes.CDLL | None = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
