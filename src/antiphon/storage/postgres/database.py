"""How does a PostgreSQL server serve as a `Database`, for many tasks, processes and machines at once?

Statements are sent on without waiting, and answered together: a round trip costs as much as dozens of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from typing import TypeVar, overload

from antiphon.errors import StoreError
from antiphon.events.clock import SystemClock
from antiphon.storage.conflicts import persistently
from antiphon.storage.database import DatabaseCounters, Isolation, Migration, Row, SqlValue
from antiphon.storage.dialects import Dialect
from antiphon.storage.migrations import apply_migrations, missing_migrations, own_migrations
from antiphon.storage.postgres.address import parse_address
from antiphon.storage.postgres.hints import Hints
from antiphon.storage.postgres.lending import PsycopgConnections
from antiphon.storage.postgres.placeholders import quoted
from antiphon.storage.postgres.pool import Pool
from antiphon.storage.postgres.session import Session
from antiphon.storage.postgres.transaction import PostgresTransaction
from antiphon.storage.queries import load_queries
from antiphon.storage.rows import convert_rows

T = TypeVar("T")

_SQL = load_queries("antiphon.storage", "sql/migrations.sql")
_HAS_SCHEMA = "select 1 from pg_namespace where nspname = ?"


class PostgresDatabase:
    """A PostgreSQL server as a `Database`, through a few connections.

    `url` is `postgresql://user:password@host:5432/database`, with the options `schema` (where the tables are; made by
    the first migration), `isolation` (read-committed, repeatable-read or serializable), `connections` (at most so
    many), and `patience` (for a free connection, and for the server to let us in); other options are libpq's. Raises
    SettingsError.
    """

    def __init__(self, url: str) -> None:
        self._address = parse_address(url)
        self._counters = DatabaseCounters()
        self._pool = Pool(self._address, self._counters)
        self._hints = Hints(self._pool)
        self._running: set[PostgresTransaction] = set()
        self._opening = asyncio.Lock()
        self._is_open = False

    def __repr__(self) -> str:
        return f"PostgresDatabase({self.url!r})"

    @property
    def name(self) -> str:
        """Server, database and schema: what errors call it."""
        return self._address.place

    @property
    def dialect(self) -> Dialect:
        """As `MigratableDatabase.dialect`."""
        return "postgres"

    @property
    def url(self) -> str:
        """As it was given, without the password."""
        return self._address.url

    @property
    def schema(self) -> str | None:
        """The schema of its tables; None: the one that the server chooses for the user."""
        return self._address.schema

    @property
    def counters(self) -> DatabaseCounters:
        """As `Database.counters`."""
        return self._counters

    @property
    def isolation(self) -> Isolation:
        """As `Database.isolation`."""
        return self._address.isolation

    @property
    def cheap_savepoints(self) -> bool:
        """As `Database.cheap_savepoints`: a part has to wait for its outcome."""
        return False

    async def open(self) -> None:
        """As `Database.open`. Raises StoreUnavailableError, StoreAccessError, StoreVersionError."""
        async with self._opening:
            if self._is_open:
                return
            await self._pool.open()
            try:
                await self.migrate("antiphon", own_migrations())
            except BaseException:
                self._pool.close()
                raise
            self._is_open = True

    async def close(self) -> None:
        """As `Database.close`."""
        async with self._opening:
            self._is_open = False
            await self._hints.close()
            self._pool.close()
            await asyncio.gather(*(tx.rollback() for tx in [*self._running]))

    async def migrate(self, component: str, migrations: Sequence[Migration]) -> None:
        """As `Database.migrate`; makes the schema when it is missing."""
        # Those of a new version and what old ones do meanwhile may wait for each other.
        await persistently(partial(apply_migrations, self, component, migrations), SystemClock())

    async def missing(self, component: str, migrations: Sequence[Migration]) -> Sequence[Migration]:
        """As `Database.missing`."""
        async with self._opening:
            if self._is_open:
                return await missing_migrations(self, component, migrations)
            await self._pool.open()
            try:
                return await missing_migrations(self, component, migrations)
            finally:
                self._pool.close()

    async def begin(self) -> PostgresTransaction:
        """As `Database.begin`: waits for a free connection. Raises StoreUnavailableError when none becomes free."""
        return await self._begin(self._address.isolation)

    async def begin_migration(self) -> PostgresTransaction:
        """As `MigratableDatabase.begin_migration`: other migrations of the schema wait, its other users do not."""
        # A stricter one would not see what was committed while it waited for the lock.
        tx = await self._begin("read-committed")
        try:
            await tx.fetch(_SQL["take_turn"], self.schema)
            if self.schema is not None and not await tx.fetch(_HAS_SCHEMA, self.schema):
                await tx.execute(f"create schema {quoted(self.schema)}")
        except BaseException:
            await tx.rollback()
            raise
        return tx

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncGenerator[PostgresTransaction]:
        """As `Database.transaction`."""
        tx = await self.begin()
        try:
            yield tx
        except BaseException:
            await tx.rollback()
            raise
        await tx.commit()

    @overload
    async def fetch(self, sql: str, *args: SqlValue) -> list[Row]: ...
    @overload
    async def fetch(self, sql: str, *args: SqlValue, row: type[T]) -> list[T]: ...
    async def fetch(self, sql: str, *args: SqlValue, row: type[T] | None = None) -> list[T] | list[Row]:
        """As `Database.fetch`: one round trip. A connection that turns out to be gone is replaced once."""
        session = await self._pool.take("read")
        try:
            failed = await _read(session, sql, args)
            if session.is_lost:
                await self._pool.give_back(session)
                session = await self._pool.take("read")
                failed = await _read(session, sql, args)
            if failed is not None:
                raise failed
            rows = session.rows()
            return rows if row is None else convert_rows(rows, session.columns(), row)
        finally:
            await self._pool.give_back(session)

    def connections(self, *, plain: bool) -> PsycopgConnections:
        """As `LendingDatabase.connections`."""
        return PsycopgConnections(self, self._address, is_plain=plain)

    def hint(self, channel: str) -> None:
        """As `HintingDatabase.hint`: at most every 5 ms, over a connection of the pool."""
        self._hints.send(channel)

    async def listen(self, channel: str, roused: Callable[[], None]) -> None:
        """As `HintingDatabase.listen`, over a connection of its own."""
        await self._hints.listen(channel, roused)

    async def take_back(self, tx: PostgresTransaction, session: Session) -> None:
        """As `Lender.take_back`."""
        self._running.discard(tx)
        await self._pool.give_back(session)

    async def _begin(self, isolation: Isolation) -> PostgresTransaction:
        session = await self._pool.take("begin a transaction")
        tx = PostgresTransaction(self, self, session, isolation)
        self._running.add(tx)
        return tx


async def _read(session: Session, sql: str, args: Sequence[SqlValue]) -> StoreError | None:
    """Run one statement that cannot write; returns why it failed."""
    # The server's default may be a stricter one, which refuses reads beside writers.
    session.control("begin isolation level read committed read only")
    try:
        session.send(sql, args)
    finally:
        session.control("commit")
        failed = await session.settle()
    if failed is None:
        return None
    if not session.is_lost:
        session.control("rollback")
        await session.settle()
    return failed.error
