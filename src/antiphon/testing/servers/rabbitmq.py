"""How does a test get a real RabbitMQ? The system's, with everything of its own, and on loopback only."""

from __future__ import annotations

import shutil
import socket
import time
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from antiphon.testing.servers.base import PATIENCE, Server
from antiphon.testing.servers.process import ServerMissingError, ServerProcess, free_port

_LOOPBACK = "-kernel inet_dist_use_interface {127,0,0,1}"


class RabbitServer(Server):
    """A RabbitMQ of one node, with its user `guest`.

    `plugins` are the names of those that it shall have, `settings` more lines of its configuration.
    """

    name: ClassVar[str] = "RabbitMQ"

    def __init__(self, *, plugins: tuple[str, ...] = (), settings: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._names, self._distribution = free_port(), free_port()
        self._plugins, self._settings = plugins, settings
        # Its nodes find each other by a daemon, which otherwise would be left behind.
        self._finder = ServerProcess("epmd", self._folder / "epmd.log")

    @property
    def url(self) -> str:
        return f"rabbitmq://guest:guest@127.0.0.1:{self._port}"

    def start(self) -> None:
        library = _library()
        if not self._finder.is_running:
            finder = [_program("epmd"), "-address", "127.0.0.1", "-port", str(self._names)]
            self._finder.start(finder, lambda: _answers(self._names))
        for folder in ("home", "logs", "data"):
            (self._folder / folder).mkdir(exist_ok=True)
        (self._folder / "plugins").write_text(f"[{','.join(self._plugins)}].", "utf-8")
        (self._folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.local = 127.0.0.1:{self._port}\nloopback_users.guest = true\nlog.file = false\n"
            "log.console = true\nlog.console.level = info\n" + "".join(f"{each}\n" for each in self._settings)
        )
        self._process.log.unlink(missing_ok=True)  # where an earlier start says that it is done
        command = [str(library / "sbin" / "rabbitmq-server")]
        self._process.start(command, self._is_ready, environment=self._environment(library), patience=PATIENCE)

    def stop(self) -> None:
        """As `Server.stop`; returns when the node has ended, too, which does so after the script that started it."""
        super().stop()
        deadline = time.monotonic() + PATIENCE.total_seconds()
        while self._process.has_others:
            if time.monotonic() > deadline:
                self._process.kill_all()
            time.sleep(0.02)

    def kill(self) -> None:
        """As `Server.kill`, of all of its processes."""
        self._process.kill_all()

    def close(self) -> None:
        """As `Server.close`, its helper included."""
        self._process.kill_all()
        self._finder.kill()
        super().close()

    def _environment(self, library: Path) -> dict[str, str]:
        at = self._folder
        return {
            "HOME": f"{at}/home",
            "RABBITMQ_HOME": str(library),
            "RABBITMQ_NODENAME": f"test{self._port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_MNESIA_BASE": f"{at}/data",
            "RABBITMQ_LOG_BASE": f"{at}/logs",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{at}/plugins",
            "RABBITMQ_PID_FILE": f"{at}/pid",
            "RABBITMQ_CONFIG_FILE": f"{at}/rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "ERL_EPMD_PORT": str(self._names),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _LOOPBACK,
            "RABBITMQ_CTL_ERL_ARGS": _LOOPBACK,
        }

    def _is_ready(self) -> bool:
        return "Server startup complete" in self._process.log.read_text("utf-8", "replace") and _answers(self._port)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timedelta(seconds=1).total_seconds()):
            return True
    except OSError:
        return False


def _library() -> Path:
    found = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*"))
    if not found:
        raise ServerMissingError("there is no RabbitMQ to start: install rabbitmq-server")
    return found[-1]


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise ServerMissingError(f"there is no {name} for RabbitMQ: install rabbitmq-server")
    return found
