"""How do many test processes share one server, which ends when the last of them has, be it killed?

A process of its own, the keeper, runs the server. Whoever uses it holds a shared lock on a file, which the system frees
whatever happens to its holder. The keeper waits for the exclusive lock; once it has that, nobody is left.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO

from antiphon.testing.servers.base import Server
from antiphon.testing.servers.kafka import KafkaServer
from antiphon.testing.servers.nats import NatsServer
from antiphon.testing.servers.postgres import PostgresServer
from antiphon.testing.servers.process import ServerError, ServerMissingError
from antiphon.testing.servers.rabbitmq import RabbitServer
from antiphon.testing.servers.valkey import RedisServer, ValkeyServer

SERVERS: Mapping[str, Callable[[], Server]] = {
    "postgres": PostgresServer,
    "valkey": ValkeyServer,
    "nats": NatsServer,
    "kafka": KafkaServer,
    "rabbitmq": RabbitServer,
    "redis": RedisServer,
}
"""Each kind, by the name under which a test asks for it."""
_PATIENCE = timedelta(minutes=6)
"""Kafka's programs may have to be fetched first."""
_MISSING = 3
_USERS, _STARTING, _KEEPER = "users.lock", "starting.lock", "keeper.lock"
_ADDRESS, _PID, _LOG = "address", "keeper.pid", "keeper.log"


@contextmanager
def shared_server(kind: str, folder: Path) -> Generator[str]:
    """The URL of the one server of this kind, such as `postgres`, for all who name the same folder.

    The first one starts it. It ends soon after the last one has left the block, or its process has ended in any way.
    Raises ServerMissingError, ServerError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _USERS).open("ab") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        with (folder / _STARTING).open("ab") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            if not _is_kept(folder):
                _start_keeper(kind, folder)
        yield (folder / _ADDRESS).read_text("utf-8")


def keep(kind: str, folder: Path) -> None:
    """The keeper's work: run the server until nobody uses it. Its exit code says where there is nothing to start."""
    with (folder / _KEEPER).open("ab") as keeper:
        fcntl.flock(keeper, fcntl.LOCK_EX)
        _write(folder / _PID, str(os.getpid()))
        try:
            with _server(kind) as server:
                _write(folder / _ADDRESS, server.url)
                with (folder / _USERS).open("ab") as users:
                    fcntl.flock(users, fcntl.LOCK_EX)
                    (folder / _ADDRESS).unlink()
        except ServerMissingError as error:
            (folder / _LOG).write_text(str(error), "utf-8")
            sys.exit(_MISSING)


def _server(kind: str) -> Server:
    if kind not in SERVERS:
        raise ServerError(f"there is no server called {kind!r}; there are {', '.join(SERVERS)}")
    return SERVERS[kind]()


def _is_kept(folder: Path) -> bool:
    """Whether a keeper lives and its server takes connections."""
    with (folder / _KEEPER).open("ab") as keeper:
        return not _is_free(keeper) and (folder / _ADDRESS).exists()


def _is_free(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _start_keeper(kind: str, folder: Path) -> None:
    (folder / _ADDRESS).unlink(missing_ok=True)
    with (folder / _LOG).open("ab") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "antiphon.testing.servers", kind, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + _PATIENCE.total_seconds()
    while not (folder / _ADDRESS).exists():
        if keeper.poll() == _MISSING:
            raise ServerMissingError((folder / _LOG).read_text("utf-8"))
        if keeper.returncode is not None or time.monotonic() > deadline:
            raise ServerError(f"{kind} did not start: {(folder / _LOG).read_text('utf-8', 'replace')[-2000:]}")
        time.sleep(0.01)
    keeper.returncode = 0  # it outlives us on purpose, and nobody is to be warned of that


def _write(path: Path, text: str) -> None:
    """So that whoever sees the file sees all of it."""
    draft = path.with_suffix(".draft")
    draft.write_text(text, "utf-8")
    draft.rename(path)
