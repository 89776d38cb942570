"""Real servers that speak TLS at one port and none at another, and let `shop` in with its password."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from antiphon.storage.database import Database
from antiphon.storage.postgres import PostgresDatabase
from antiphon.storage.sqlite import SqliteDatabase
from antiphon.testing.servers import PostgresServer, RabbitServer, RedisServer, ServerMissingError, free_port
from tests.integration.rabbitmq.faults import control
from tests.integration.tls.authority import Authority, Certificate

PASSWORD = "correct-horse"
_RULES = """hostssl all shop 127.0.0.1/32 scram-sha-256
hostnossl all shop 127.0.0.1/32 reject
host all postgres 127.0.0.1/32 trust
"""


class Door(NamedTuple):
    """How to come in, well or badly. In what it says `{}` is the file of an authority."""

    form: str
    """A URL, with places for password and port."""
    guarded: int
    """The port that speaks TLS."""
    plain: int
    """One that speaks none."""
    trusting: str
    """The options for TLS with who signed the certificate."""
    unknown: str
    """Those with nobody named."""
    off: str
    """Those for none."""
    option: str
    """Which of them names who signed it."""

    def url(self, options: str, port: int, password: str = PASSWORD) -> str:
        return f"{self.form.format(password=password, port=port)}&{options}"

    def store(self, url: str) -> Database:
        """One that is reached as the broker is, where that is a database."""
        return PostgresDatabase(url) if url.startswith("postgresql:") else SqliteDatabase(":memory:")


class Doors:
    """Each server is started when it is first needed, and ends with the stack."""

    def __init__(self, stack: ExitStack, authority: Authority) -> None:
        self._stack, self._authority = stack, authority
        self._certificate = authority.sign("server")
        self._opened: dict[str, Door] = {}
        self._rabbit: tuple[int, int] | None = None

    def door(self, kind: str) -> Door:
        if kind not in self._opened:
            self._opened[kind] = _MAKERS[kind](self)
        return self._opened[kind]

    def redis(self) -> Door:
        port = free_port()
        certificate = self._certificate
        files = ("--tls-cert-file", certificate.itself, "--tls-key-file", certificate.key)
        settings = ("--tls-port", port, *files, "--tls-ca-cert-file", self._authority.file, "--tls-auth-clients", "no")
        user = ("--user", "shop", "on", f">{PASSWORD}", "~*", "&*", "+@all")
        server = self._stack.enter_context(RedisServer(settings=(*map(str, settings), *user)))
        return _of_ours("redis", "timeout=1s", port, server.port)

    def queues(self) -> Door:
        return _of_ours("rabbitmq", "prefix=queues", *self._rabbits_ports())

    def streams(self) -> Door:
        return _of_ours("rabbitmq-streams", "prefix=streams", *self._rabbits_ports())

    def _rabbits_ports(self) -> tuple[int, int]:
        if self._rabbit is None:
            port = free_port()
            server = self._stack.enter_context(RabbitServer(settings=self._rabbits_settings(port)))
            control(server, "add_user", "shop", PASSWORD)
            control(server, "set_permissions", "shop", ".*", ".*", ".*")
            self._rabbit = port, server.port
        return self._rabbit

    def _rabbits_settings(self, port: int) -> tuple[str, ...]:
        return (
            f"listeners.ssl.local = 127.0.0.1:{port}",
            f"ssl_options.cacertfile = {self._authority.file}",
            f"ssl_options.certfile = {self._certificate.itself}",
            f"ssl_options.keyfile = {self._certificate.key}",
            "ssl_options.verify = verify_none",
            "ssl_options.fail_if_no_peer_cert = false",
        )

    def postgres(self) -> Door:
        server, plain = self._stack.enter_context(SystemsPostgres()), self._stack.enter_context(PostgresServer())
        server.speak_tls(self._certificate)
        asyncio.run(_make_shop(server.url))
        return Door(
            form="postgresql://shop:{password}@127.0.0.1:{port}/postgres?schema=shop",
            guarded=server.port,
            plain=plain.port,
            trusting="sslmode=verify-full&sslrootcert={}",
            unknown="sslmode=verify-full&sslrootcert=system",
            off="sslmode=disable",
            option="sslrootcert",
        )


class SystemsPostgres(PostgresServer):
    """The system's: that of the wheel was built without TLS."""

    def speak_tls(self, certificate: Certificate) -> None:
        """From now on, and let `shop` in only by it."""
        owner = self.data.stat()
        for file, name in ((certificate.itself, "server.crt"), (certificate.key, "server.key")):
            copied = self.data / name
            shutil.copy(file, copied)
            copied.chmod(0o600)
            os.chown(copied, owner.st_uid, owner.st_gid)
        (self.data / "pg_hba.conf").write_text(_RULES, "utf-8")
        with (self.data / "postgresql.auto.conf").open("a", encoding="utf-8") as settings:
            settings.write("ssl = on\n")
        self.stop()
        self.start()

    def _programs(self) -> Path:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        if not found:
            raise ServerMissingError("there is no PostgreSQL that speaks TLS: install postgresql, the wheel has none")
        return found[-1].parent


def _of_ours(scheme: str, options: str, guarded: int, plain: int) -> Door:
    return Door(
        form=f"{scheme}://shop:{{password}}@127.0.0.1:{{port}}?{options}",
        guarded=guarded,
        plain=plain,
        trusting="tls=true&tls_ca={}",
        unknown="tls=true",
        off="tls=false",
        option="tls_ca",
    )


async def _make_shop(url: str) -> None:
    admin = PostgresDatabase(url)
    await admin.open()
    async with admin.transaction() as tx:
        await tx.run_script(f"create role shop login password '{PASSWORD}'; grant create on database postgres to shop;")
    await admin.close()


_MAKERS: dict[str, Callable[[Doors], Door]] = {
    "redis": Doors.redis,
    "rabbitmq": Doors.queues,
    "rabbitmq-streams": Doors.streams,
    "postgresql": Doors.postgres,
}
KINDS = tuple(_MAKERS)
