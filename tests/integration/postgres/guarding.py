"""A PostgreSQL that asks for passwords, and ways in which it lets somebody in no more, and again."""

from __future__ import annotations

from typing import NamedTuple

from antiphon.storage.postgres import PostgresDatabase
from antiphon.testing.servers import PostgresServer


class Way(NamedTuple):
    """What shuts `shop` out, what lets it in again, and what the server says meanwhile."""

    shut: str
    open: str
    said: str


WAYS = {
    "expired": Way("valid until '2020-01-01'", "valid until 'infinity'", "password authentication failed"),
    "renewed": Way("password 'another'", "password 'secret'", "password authentication failed"),
    "locked": Way("nologin", "login", "not permitted to log in"),
}


def guard(server: PostgresServer) -> None:
    """Ask `shop` for its password, before anybody comes."""
    rules = server.data / "pg_hba.conf"
    rules.write_text(f"host all shop 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
    server.stop()
    server.start()


def shops(server: PostgresServer, schema: str) -> str:
    """The URL with which `shop` comes in."""
    return f"postgresql://shop:secret@127.0.0.1:{server.port}/postgres?schema={schema}"


class Gate:
    """Lets `shop` in and shuts it out."""

    def __init__(self, admin: PostgresDatabase, way: Way) -> None:
        self._admin, self.way = admin, way

    async def make(self) -> None:
        """Let there be `shop`, who may make its schemas."""
        async with self._admin.transaction() as tx:
            await tx.run_script(
                "drop owned by shop cascade; drop role shop;"
                if await tx.fetch("select 1 from pg_roles where rolname = 'shop'")
                else "select 1;"
            )
            await tx.run_script("create role shop login password 'secret'; grant create on database postgres to shop;")

    async def shut(self) -> None:
        """Refuse its logins, and cut its connections."""
        await self._run(f"alter role shop {self.way.shut}")
        ended = "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = 'shop'"
        assert await self._admin.fetch(ended, row=int) > [0]

    async def open(self) -> None:
        await self._run(f"alter role shop {self.way.open}")

    async def _run(self, statement: str) -> None:
        async with self._admin.transaction() as tx:
            await tx.execute(statement)
