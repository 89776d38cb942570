"""What all servers for tests have in common: a folder, a port, and a process that is started, paused, killed, ended."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from abc import ABC, abstractmethod
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from antiphon.testing.servers.process import ServerProcess, free_port

PATIENCE = timedelta(seconds=60)


class Server(ABC):
    """A server of one's own, whose data lies in the system's temporary folder until `close`.

    It may be paused, or killed and started again, at the same port and with the same data.
    """

    name: ClassVar[str]
    """What it is called in messages."""
    end_signal: ClassVar[signal.Signals] = signal.SIGTERM
    close_signal: ClassVar[signal.Signals] = signal.SIGKILL

    def __init__(self, *, drop_privileges: bool = False) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=f"antiphon-{self.name.lower()}-"))
        self._folder.chmod(0o755)  # a server that runs as another user has to reach its data
        self._process = ServerProcess(self.name, self._folder / "log", drop_privileges=drop_privileges)
        self._port = free_port()

    @property
    @abstractmethod
    def url(self) -> str:
        """What a broker or store connects to it with."""

    @abstractmethod
    def start(self) -> None:
        """Start it, with new data at the first time, and return when it answers.

        Raises ServerMissingError where there is nothing to start, and ServerError.
        """

    @property
    def port(self) -> int:
        return self._port

    @property
    def pid(self) -> int:
        """The process that starts all its others."""
        return self._process.pid

    def stop(self) -> None:
        """End it in good order; whoever is connected is cut off. Twice is safe."""
        self._process.stop(self.end_signal)

    def kill(self) -> None:
        """End it as a crash does; what was confirmed is there after the next `start`."""
        self._process.kill()

    def pause(self) -> None:
        """Let it answer nobody, and keep its connections, until `go_on`."""
        os.killpg(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """End a pause."""
        os.killpg(self._process.pid, signal.SIGCONT)

    def close(self) -> None:
        """Stop it, and remove its data. Twice is safe."""
        self._process.stop(self.close_signal)
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
