"""How does a SQLite file serve as a `Database`, durable, for many tasks and processes at once?

Statements run on the event loop's thread, since a hop to another one costs as much as a hundred of them. Only
what really waits is done in a thread: the commit, which waits for the disk, and another process's turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from datetime import timedelta
from os import PathLike
from pathlib import Path
from typing import TypeVar, overload

from antiphon.errors import ClosedError, StatementError, StoreError, UnsupportedCapabilityError
from antiphon.storage.database import DatabaseCounters, Migration, Row, SqlValue
from antiphon.storage.file_lock import FileLock
from antiphon.storage.migrations import apply_migrations, own_migrations
from antiphon.storage.place import Place
from antiphon.storage.rows import convert_rows
from antiphon.storage.sqlite_errors import explain, explain_os, is_busy
from antiphon.storage.statements import KnownStatements, shorten, split_script
from antiphon.storage.wal import WalBound
from antiphon.storage.write_queue import WriteQueue

T = TypeVar("T")

APPLICATION_ID = 0x414E5450  # "ANTP", in the header of every file that we made

# What the driver raises: its own classes, and these for values that do not fit a column.
_REFUSED = (sqlite3.Error, sqlite3.Warning, OverflowError, UnicodeError)
_CHECKPOINT_PAGES = 1000
_OVER = "the transaction is over: it was committed or rolled back"


class SqliteTransaction:
    """Writes that commit together or not at all.

    `send`, `send_many` and `query` are `execute`, `execute_many` and `fetch` without a coroutine, for code that
    counts microseconds; nothing waits in them. A statement that is refused is undone alone, and the transaction
    goes on. A file that fails, or has no room, undoes everything; then nothing but `rollback` is left.
    """

    __slots__ = ("_callbacks", "_cursor", "_database", "_known", "_over", "_part", "_writer")

    def __init__(self, database: SqliteDatabase, writer: _Writer, cursor: sqlite3.Cursor) -> None:
        self._database, self._writer, self._cursor = database, writer, cursor
        self._known = writer.known_statements
        self._callbacks: list[Callable[[], None]] = []
        self._part: int | None = None
        self._over: str | None = None

    @property
    def database(self) -> SqliteDatabase:
        """Where it writes."""
        return self._database

    def send(self, sql: str, args: Sequence[SqlValue] = ()) -> None:
        """`execute` without a coroutine."""
        self.query(sql, args)

    def send_many(self, sql: str, rows: Iterable[Sequence[SqlValue]]) -> None:
        """`execute_many` without a coroutine."""
        rows = rows if isinstance(rows, Sequence) else list(rows)
        self._admit(sql)
        try:
            self._cursor.executemany(sql, rows)
        except _REFUSED as error:
            raise self._failed(error, sql) from error
        self._database.counters.statements += len(rows)

    def query(self, sql: str, args: Sequence[SqlValue] = ()) -> list[Row]:
        """`fetch` without a coroutine, as tuples."""
        if self._over is not None or sql not in self._known:
            self._admit(sql)
        cursor = self._cursor
        try:
            cursor.execute(sql, args)
            # A statement left half read would keep the commit from succeeding.
            rows = cursor.fetchall() if cursor.description is not None else []
        except _REFUSED as error:
            raise self._failed(error, sql) from error
        self._database.counters.statements += 1
        return rows

    async def execute(self, sql: str, *args: SqlValue) -> None:
        """Run one statement; never suspends. Raises StoreError."""
        self.query(sql, args)

    async def execute_many(self, sql: str, rows: Iterable[Sequence[SqlValue]]) -> None:
        """Run one statement for each row; never suspends. Raises StoreError."""
        self.send_many(sql, rows)

    @overload
    async def fetch(self, sql: str, *args: SqlValue) -> list[Row]: ...
    @overload
    async def fetch(self, sql: str, *args: SqlValue, row: type[T]) -> list[T]: ...
    async def fetch(self, sql: str, *args: SqlValue, row: type[T] | None = None) -> list[T] | list[Row]:
        """As `Transaction.fetch`; never suspends."""
        rows = self.query(sql, args)
        return rows if row is None else convert_rows(rows, _columns(self._cursor), row)

    @overload
    async def fetch_one(self, sql: str, *args: SqlValue) -> Row | None: ...
    @overload
    async def fetch_one(self, sql: str, *args: SqlValue, row: type[T]) -> T | None: ...
    async def fetch_one(self, sql: str, *args: SqlValue, row: type[T] | None = None) -> T | Row | None:
        """As `Transaction.fetch_one`. The statement runs to its end; let it return few rows."""
        rows = self.query(sql, args)[:1]
        if row is None or not rows:
            return rows[0] if rows else None
        return convert_rows(rows, _columns(self._cursor), row)[0]

    async def run_script(self, sql: str) -> None:
        """Run several statements, divided by semicolons; the first that fails ends it."""
        for statement in split_script(sql, sqlite3.complete_statement):
            self.query(statement, ())

    def after_commit(self, callback: Callable[[], None]) -> None:
        """As `Transaction.after_commit`."""
        self._callbacks.append(callback)

    async def savepoint(self) -> None:
        """As `OpenTransaction.savepoint`; never suspends."""
        self._require_running()
        if self._part is not None:
            raise StoreError("a part of this transaction is open already: release or undo it first")
        self._control("savepoint part")
        self._part = len(self._callbacks)

    async def release(self) -> None:
        """As `OpenTransaction.release`; never suspends."""
        self._require_part()
        self._control("release part")
        self._part = None

    async def undo(self) -> None:
        """As `OpenTransaction.undo`; never suspends."""
        kept = self._require_part()
        self._control("rollback to part")
        self._control("release part")
        del self._callbacks[kept:]
        self._part = None

    async def commit(self) -> None:
        """As `OpenTransaction.commit`: in the thread, since it waits for the disk."""
        self._require_running()
        self._over = _OVER
        await self._writer.commit(self._cursor.connection, self._call_back)

    async def rollback(self) -> None:
        """As `OpenTransaction.rollback`. During a commit it waits for that to end."""
        self._over = self._over or _OVER
        await self._writer.roll_back(self._cursor.connection, self)

    def _call_back(self) -> None:
        for callback in self._callbacks:
            callback()

    def _control(self, sql: str) -> None:
        self._require_running()
        try:
            self._cursor.execute(sql)
        except sqlite3.Error as error:
            raise self._failed(error, sql) from error
        self._database.counters.statements += 1

    def _admit(self, sql: str) -> None:
        self._require_running()
        self._known.admit(sql)

    def _require_running(self) -> None:
        if self._over is not None:
            raise StoreError(self._over)

    def _require_part(self) -> int:
        self._require_running()
        if self._part is None:
            raise StoreError("no part of this transaction is open: call savepoint() first")
        return self._part

    def _failed(self, error: Exception, sql: str) -> StoreError:
        explained = explain(error, self._database.path, f"run {shorten(sql)!r}")
        connection = self._cursor.connection
        if not isinstance(explained, StatementError):
            with contextlib.suppress(sqlite3.Error):  # a failing disk may have undone it already
                connection.execute("rollback")
        if not connection.in_transaction:
            # Left alone, the next statement would commit by itself.
            self._over = f"the transaction was undone, since a statement failed: {explained}"
        return explained


class _Writer:
    """The one connection of this process that writes to the file, and whose turn it is."""

    def __init__(self, path: str, patience: timedelta, wal_limit: int, *, durable: bool) -> None:
        self._path, self._patience, self._durable = path, patience, durable
        self._queue = WriteQueue(path, FileLock(Path(path)) if durable else None, patience)
        self._wal = WalBound(Path(f"{path}-wal"), wal_limit)
        self._cursor: sqlite3.Cursor | None = None
        self._current: SqliteTransaction | None = None
        self._committed: asyncio.Event | None = None
        self._closing = False
        self.known_statements = KnownStatements()
        self.counters = DatabaseCounters()

    async def open(self, file: str) -> None:
        self._closing = False
        try:
            self._queue.open()
        except OSError as error:
            raise explain_os(error, self._path, "open it") from error
        await self._queue.enter()
        try:
            await self._patiently(lambda: self._connect(file), "open it")
        finally:
            self._queue.leave()

    async def close(self) -> None:
        self._closing = True  # whoever waits for the turn gets it and gives up
        if self._current is not None:
            await self._current.rollback()
        await self._queue.close()
        if self._cursor is not None:
            _close(self._cursor)
            self._cursor = None

    async def begin(self, database: SqliteDatabase) -> SqliteTransaction:
        self._require_open("begin a transaction")
        await self._queue.enter()
        try:
            cursor = self._require_open("begin a transaction")
            await self._patiently(lambda: cursor.execute("begin immediate"), "begin a transaction")
        except BaseException:
            self._queue.leave()
            raise
        self._current = SqliteTransaction(database, self, cursor)
        return self._current

    async def commit(self, connection: sqlite3.Connection, then: Callable[[], None]) -> None:
        """Commit the current transaction; `then` is called when that succeeded, whoever is cancelled meanwhile."""
        committed = False
        self._committed = asyncio.Event()

        def commit() -> None:
            nonlocal committed
            try:
                connection.execute("commit")
                committed = True
                self._wal.apply(lambda: _empty_wal(connection))
            finally:
                self._finish(connection)

        try:
            if self._durable:
                await self._queue.run(commit)
            else:
                commit()
        except sqlite3.Error as error:
            raise explain(error, self._path, "commit") from error
        finally:
            self._current = None
            self._committed.set()
            self._queue.leave()
            if committed:
                self.counters.commits += 1
                then()

    async def roll_back(self, connection: sqlite3.Connection, tx: SqliteTransaction) -> None:
        """Nothing happens unless `tx` is the current one; while it commits, only wait for the end of that."""
        if self._current is not tx:
            return
        if self._committed is not None and not self._committed.is_set():
            await self._committed.wait()
            return
        self._current = None
        try:
            self._finish(connection)
        finally:
            self._queue.leave()

    def _finish(self, connection: sqlite3.Connection) -> None:
        """Leave no transaction behind, then let other processes in. In the thread or on the loop."""
        try:
            if connection.in_transaction:
                connection.execute("rollback")
        finally:
            self._queue.leave_file()

    def _connect(self, file: str) -> None:
        connection = _connection(file)
        try:
            connection.execute(f"pragma synchronous = {'full' if self._durable else 'off'}")
            connection.execute("pragma journal_mode = wal")
            connection.execute(f"pragma wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            _claim(connection, self._path)
        except BaseException:
            connection.close()
            raise
        self._cursor = connection.cursor()

    async def _patiently(self, attempt: Callable[[], object], tried: str) -> None:
        """Try until no foreign program holds SQLite's own lock. Short random waits share it fairly."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience.total_seconds()
        while True:
            try:
                attempt()
                return
            except sqlite3.Error as error:
                if not is_busy(error) or loop.time() > deadline:
                    raise explain(error, self._path, tried) from error
            await asyncio.sleep(random.uniform(0.0005, 0.005))

    def _require_open(self, tried: str) -> sqlite3.Cursor:
        if self._cursor is None or self._closing:
            raise ClosedError(self._path, tried)
        return self._cursor


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
        self._writer = _Writer(self._path, patience, wal_limit, durable=not self._place.in_memory)
        self._reader: sqlite3.Cursor | None = None
        self._opening = asyncio.Lock()

    @property
    def path(self) -> str:
        """The file's absolute path, or ":memory:"."""
        return self._path

    @property
    def url(self) -> str:
        """`sqlite:///` and the path."""
        return f"sqlite:///{self._path}"

    @property
    def counters(self) -> DatabaseCounters:
        """As `Database.counters`."""
        return self._writer.counters

    async def open(self) -> None:
        """As `Database.open`; makes the file and its folder when they are missing.

        Raises StoreReadOnlyError, StoreFullError, StoreCorruptError, StoreVersionError, StoreUnavailableError.
        """
        async with self._opening:
            if self._reader is not None:
                return
            _require_returning()
            try:
                file = self._place.make()
                await self._writer.open(file)
                self._reader = _open_reader(file, self._path)
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

    @overload
    async def fetch(self, sql: str, *args: SqlValue) -> list[Row]: ...
    @overload
    async def fetch(self, sql: str, *args: SqlValue, row: type[T]) -> list[T]: ...
    async def fetch(self, sql: str, *args: SqlValue, row: type[T] | None = None) -> list[T] | list[Row]:
        """As `Database.fetch`; never suspends."""
        rows = self.read(sql, args)
        return rows if row is None else convert_rows(rows, _columns(self._require_reader()), row)

    def read(self, sql: str, args: Sequence[SqlValue] = ()) -> list[Row]:
        """`fetch` without a coroutine. It reads to the end, so that no snapshot stays open."""
        reader = self._require_reader()
        try:
            rows = reader.execute(sql, args).fetchall()
        except _REFUSED as error:
            raise explain(error, self._path, f"read {shorten(sql)!r}") from error
        self.counters.statements += 1
        return rows

    def data_version(self) -> int:
        """A number that changes when anything was committed to the file, here or in any process."""
        try:
            (version,) = self._require_reader().execute("pragma data_version").fetchone()
        except sqlite3.Error as error:
            raise explain(error, self._path, "see whether it changed") from error
        return int(version)

    async def _close(self) -> None:
        if self._reader is not None:
            _close(self._reader)
            self._reader = None
        await self._writer.close()
        self._place.remove()

    def _require_reader(self) -> sqlite3.Cursor:
        if self._reader is None:
            raise ClosedError(self._path, "read")
        return self._reader


def _empty_wal(connection: sqlite3.Connection) -> bool:
    try:
        (busy, _, _) = connection.execute("pragma wal_checkpoint(truncate)").fetchone()
    except sqlite3.Error:
        return False  # no room to copy it into the file now; the commit holds all the same
    return bool(busy == 0)


def _close(cursor: sqlite3.Cursor) -> None:
    # A cursor left open would keep its connection, and the file, open behind our back.
    connection = cursor.connection
    cursor.close()
    connection.close()


def _open_reader(file: str, path: str) -> sqlite3.Cursor:
    try:
        return _connection(file, reading=True).cursor()
    except sqlite3.Error as error:
        raise explain(error, path, "open it") from error


def _connection(path: str, *, reading: bool = False) -> sqlite3.Connection:
    # A reader waits only for another process's recovery after a crash, which is short.
    connection = sqlite3.connect(
        path, timeout=1 if reading else 0, isolation_level=None, check_same_thread=False, cached_statements=512
    )
    connection.execute("pragma temp_store = memory")
    connection.execute(f"pragma {'query_only' if reading else 'foreign_keys'} = on")
    return connection


def _require_returning() -> None:
    if sqlite3.sqlite_version_info < (3, 35):
        reason = f"this Python brings SQLite {sqlite3.sqlite_version}; use one with 3.35 or newer"
        raise UnsupportedCapabilityError("the SQLite store", "`returning`", reason)


def _claim(writer: sqlite3.Connection, path: str) -> None:
    """Refuse another program's file and one that cannot be written; mark a new one as ours."""
    writer.execute("begin immediate")
    try:
        (found,) = writer.execute("pragma application_id").fetchone()
        (is_new,) = writer.execute("select not exists (select 1 from sqlite_schema)").fetchone()
        if found not in (0, APPLICATION_ID):
            raise StoreError(f"{path}: it belongs to another program (application id {found:#x}): name another path")
        # Only a write fails on a read-only file: `begin immediate` gives way in silence.
        writer.execute(f"pragma application_id = {APPLICATION_ID if is_new else found}")
        writer.execute("commit" if is_new else "rollback")
    finally:
        if writer.in_transaction:
            writer.execute("rollback")


def _columns(cursor: sqlite3.Cursor) -> list[str]:
    return [column[0] for column in cursor.description or ()]
