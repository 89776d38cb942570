"""How does a SQLite file serve as a `Database`, durable, for many tasks and processes at once?

Statements run on the event loop's thread, since a hop to another one costs as much as a hundred of them. Only
what really waits is done in a thread: the commit, which waits for the disk, and another process's turn.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from datetime import timedelta
from os import PathLike
from typing import TypeVar, overload

from antiphon.errors import ClosedError
from antiphon.storage.database import DatabaseCounters, Isolation, Migration, Row, SqlValue
from antiphon.storage.dialects import Dialect
from antiphon.storage.migrations import apply_migrations, missing_migrations, own_migrations, worded
from antiphon.storage.rows import convert_rows
from antiphon.storage.sqlite.driver import (
    REFUSED,
    Cursor,
    DriverError,
    close,
    columns,
    connect_reader,
    require_returning,
)
from antiphon.storage.sqlite.errors import explain
from antiphon.storage.sqlite.lending import SqliteConnections
from antiphon.storage.sqlite.place import Place
from antiphon.storage.sqlite.transaction import SqliteTransaction
from antiphon.storage.sqlite.writer import Writer
from antiphon.storage.statements import shorten

T = TypeVar("T")


class SqliteDatabase:
    """A SQLite file as a `Database`: one writing connection, and one that reads beside it.

    `path` may be ":memory:", which keeps a file of its own in the system's temporary folder until it is closed:
    the same code and the same isolation, without waiting for the disk. `patience` bounds how long a writer
    waits for other programs. `wal_limit` bounds the write-ahead log, in bytes, whatever readers do.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        patience: timedelta = timedelta(seconds=10),
        wal_limit: int = 32 * 1024 * 1024,
    ) -> None:
        self._place = Place(path)
        self._path = self._place.name
        self._writer = Writer(self._place, patience, wal_limit)
        self._reader: Cursor | None = None
        self._opening = asyncio.Lock()

    @property
    def path(self) -> str:
        """The file's absolute path, or ":memory:"."""
        return self._path

    @property
    def name(self) -> str:
        """What errors call it: the path."""
        return self._path

    @property
    def dialect(self) -> Dialect:
        """As `MigratableDatabase.dialect`."""
        return "sqlite"

    @property
    def url(self) -> str:
        """`sqlite:///` and the path."""
        return f"sqlite:///{self._path}"

    @property
    def counters(self) -> DatabaseCounters:
        """As `Database.counters`."""
        return self._writer.counters

    @property
    def isolation(self) -> Isolation:
        """As `Database.isolation`: there is one writer at a time."""
        return "serializable"

    @property
    def cheap_savepoints(self) -> bool:
        """As `Database.cheap_savepoints`: a part costs two short statements."""
        return True

    async def open(self) -> None:
        """As `Database.open`; makes the file and its folder when they are missing.

        Raises StoreReadOnlyError, StoreFullError, StoreCorruptError, StoreVersionError, StoreUnavailableError.
        """
        async with self._opening:
            if self._reader is not None:
                return
            require_returning()
            try:
                await self._writer.open()
                self._connect_reader()
                await self.migrate("antiphon", own_migrations())
            except BaseException:
                await self._close()
                raise

    async def close(self) -> None:
        """As `Database.close`."""
        async with self._opening:
            await self._close()

    async def migrate(self, component: str, migrations: Sequence[Migration]) -> None:
        """As `Database.migrate`."""
        await apply_migrations(self, component, migrations)

    async def missing(self, component: str, migrations: Sequence[Migration]) -> Sequence[Migration]:
        """As `Database.missing`; makes no file."""
        async with self._opening:
            if self._reader is not None:
                return await missing_migrations(self, component, migrations)
            if not self._place.is_there():
                return worded(migrations, self.dialect)
            self._connect_reader()
            try:
                return await missing_migrations(self, component, migrations)
            finally:
                self._disconnect_reader()

    async def begin_migration(self) -> SqliteTransaction:
        """As `MigratableDatabase.begin_migration`: there is one writer at a time."""
        return await self.begin()

    async def begin(self) -> SqliteTransaction:
        """As `Database.begin`. Raises StoreUnavailableError when another program keeps the lock for too long."""
        return await self._writer.begin(self)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncGenerator[SqliteTransaction]:
        """As `Database.transaction`."""
        tx = await self.begin()
        try:
            yield tx
        except BaseException:
            await tx.rollback()
            raise
        await tx.commit()

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncGenerator[None]:
        """As `TakingTurns.turn`: for whoever writes over another connection of this process."""
        give_back = await self._writer.enter()
        try:
            yield
        finally:
            give_back()

    def connections(self, *, plain: bool) -> SqliteConnections:
        """As `LendingDatabase.connections`."""
        return SqliteConnections(self, self._writer, is_plain=plain)

    @overload
    async def fetch(self, sql: str, *args: SqlValue) -> list[Row]: ...
    @overload
    async def fetch(self, sql: str, *args: SqlValue, row: type[T]) -> list[T]: ...
    async def fetch(self, sql: str, *args: SqlValue, row: type[T] | None = None) -> list[T] | list[Row]:
        """As `Database.fetch`; never suspends."""
        rows = self.read(sql, args)
        return rows if row is None else convert_rows(rows, columns(self._require_reader()), row)

    def read(self, sql: str, args: Sequence[SqlValue] = ()) -> list[Row]:
        """`fetch` without a coroutine. It reads to the end, so that no snapshot stays open."""
        reader = self._require_reader()
        try:
            rows = reader.execute(sql, args).fetchall()
        except REFUSED as error:
            raise explain(error, self._path, f"read {shorten(sql)!r}") from error
        self.counters.statements += 1
        return rows

    def data_version(self) -> int:
        """A number that changes when anything was committed to the file, here or in any process."""
        try:
            (version,) = self._require_reader().execute("pragma data_version").fetchone()
        except DriverError as error:
            raise explain(error, self._path, "see whether it changed") from error
        return int(version)

    def _connect_reader(self) -> None:
        try:
            self._reader = connect_reader(self._place.file)
        except DriverError as error:
            raise explain(error, self._path, "open it") from error

    def _disconnect_reader(self) -> None:
        if self._reader is not None:
            close(self._reader)
            self._reader = None

    async def _close(self) -> None:
        self._disconnect_reader()
        await self._writer.close()

    def _require_reader(self) -> Cursor:
        if self._reader is None:
            raise ClosedError(self._path, "read")
        return self._reader
