"""How does a SQLite file serve as a `Database`, durable, for many tasks and processes at once?

Statements run on the event loop's thread, since a hop to another one costs as much as a hundred of them. Only
what really waits is done in a thread: the commit, which waits for the disk, and another process's turn.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
import tempfile
import weakref
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from os import PathLike
from pathlib import Path
from typing import TypeVar, overload

from antiphon.errors import ClosedError, StatementError, StoreError
from antiphon.storage.database import DatabaseCounters, Migration, Row, SqlValue
from antiphon.storage.file_lock import FileLock
from antiphon.storage.migrations import apply_migrations, own_migrations
from antiphon.storage.rows import convert_rows
from antiphon.storage.sqlite_errors import explain, explain_os, is_busy
from antiphon.storage.write_queue import WriteQueue

T = TypeVar("T")

MEMORY = ":memory:"
APPLICATION_ID = 0x414E5450  # "ANTP", in the header of every file that we made

# What the driver raises: its own classes, and these for values that do not fit a column.
_REFUSED = (sqlite3.Error, sqlite3.Warning, OverflowError, UnicodeError)
_OWNERS_WORDS = frozenset({"begin", "commit", "end", "rollback", "savepoint", "release", "vacuum", "attach", "detach"})
_MOST_KNOWN_STATEMENTS = 10_000


class SqliteTransaction:
    """Writes that commit together or not at all.

    `send`, `send_many` and `query` are `execute`, `execute_many` and `fetch` without a coroutine, for code that
    counts microseconds; nothing waits in them. Every statement is undone alone when it fails, and the transaction
    goes on, unless the disk was full: then SQLite has undone everything, and nothing but `rollback` is left.
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
        self._run(sql, args)

    def send_many(self, sql: str, rows: Iterable[Sequence[SqlValue]]) -> None:
        """`execute_many` without a coroutine."""
        rows = rows if isinstance(rows, Sequence) else list(rows)
        self._check(sql)
        try:
            self._cursor.executemany(sql, rows)
        except _REFUSED as error:
            raise self._failed(error, sql) from error
        self._database.counters.statements += len(rows)

    def query(self, sql: str, args: Sequence[SqlValue] = ()) -> list[Row]:
        """`fetch` without a coroutine, as tuples."""
        return self._run(sql, args)

    async def execute(self, sql: str, *args: SqlValue) -> None:
        """Run one statement; never suspends. Raises StoreError."""
        self._run(sql, args)

    async def execute_many(self, sql: str, rows: Iterable[Sequence[SqlValue]]) -> None:
        """Run one statement for each row; never suspends. Raises StoreError."""
        self.send_many(sql, rows)

    @overload
    async def fetch(self, sql: str, *args: SqlValue) -> list[Row]: ...
    @overload
    async def fetch(self, sql: str, *args: SqlValue, row: type[T]) -> list[T]: ...
    async def fetch(self, sql: str, *args: SqlValue, row: type[T] | None = None) -> list[T] | list[Row]:
        """As `Transaction.fetch`; never suspends."""
        rows = self._run(sql, args)
        return rows if row is None else convert_rows(rows, _columns(self._cursor), row)

    @overload
    async def fetch_one(self, sql: str, *args: SqlValue) -> Row | None: ...
    @overload
    async def fetch_one(self, sql: str, *args: SqlValue, row: type[T]) -> T | None: ...
    async def fetch_one(self, sql: str, *args: SqlValue, row: type[T] | None = None) -> T | Row | None:
        """As `Transaction.fetch_one`. The statement runs to its end; let it return few rows."""
        rows = self._run(sql, args)[:1]
        if row is None or not rows:
            return rows[0] if rows else None
        return convert_rows(rows, _columns(self._cursor), row)[0]

    async def run_script(self, sql: str) -> None:
        """Run several statements, divided by semicolons; the first that fails ends it."""
        for statement in _statements(sql):
            self._run(statement, ())

    def after_commit(self, callback: Callable[[], None]) -> None:
        """As `Transaction.after_commit`."""
        self._callbacks.append(callback)

    async def savepoint(self) -> None:
        """As `OpenTransaction.savepoint`; never suspends."""
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
        if self._over is not None:
            raise StoreError(self._over)
        self._over = "the transaction was committed, or is being"
        await self._writer.commit(self._call_back)

    async def rollback(self) -> None:
        """As `OpenTransaction.rollback`. During a commit it waits for that to end."""
        self._over = self._over or "the transaction was rolled back"
        await self._writer.roll_back(self._cursor)

    def _call_back(self) -> None:
        for callback in self._callbacks:
            callback()

    def _run(self, sql: str, args: Sequence[SqlValue]) -> list[Row]:
        if self._over is not None or sql not in self._known:
            self._check(sql)
        cursor = self._cursor
        try:
            cursor.execute(sql, args)
            # A statement left half read would keep the commit from succeeding.
            rows = cursor.fetchall() if cursor.description is not None else []
        except _REFUSED as error:
            raise self._failed(error, sql) from error
        self._database.counters.statements += 1
        return rows

    def _control(self, sql: str) -> None:
        if self._over is not None:
            raise StoreError(self._over)
        try:
            self._cursor.execute(sql)
        except sqlite3.Error as error:
            raise self._failed(error, sql) from error
        self._database.counters.statements += 1

    def _check(self, sql: str) -> None:
        if self._over is not None:
            raise StoreError(self._over)
        if _first_word(sql) in _OWNERS_WORDS:
            raise StatementError(f"cannot run {_short(sql)!r}: who began the transaction ends it")
        if len(self._known) >= _MOST_KNOWN_STATEMENTS:
            self._known.clear()
        self._known.add(sql)

    def _require_part(self) -> int:
        if self._over is not None:
            raise StoreError(self._over)
        if self._part is None:
            raise StoreError("no part of this transaction is open: call savepoint() first")
        return self._part

    def _failed(self, error: Exception, sql: str) -> StoreError:
        explained = explain(error, self._database.path, f"run {_short(sql)!r}")
        if not self._cursor.connection.in_transaction:
            # Left alone, the next statement would commit by itself.
            self._over = f"the transaction was undone by SQLite: {explained}"
        return explained


class _Writer:
    """The one connection of this process that writes to the file, and whose turn it is."""

    def __init__(self, path: str, patience: timedelta, wal_limit: int, *, durable: bool) -> None:
        self._path, self._patience, self._wal_limit, self._durable = path, patience, wal_limit, durable
        self._queue = WriteQueue(path, FileLock(Path(path)) if durable else None, patience)
        self._connection: sqlite3.Connection | None = None
        self._current: sqlite3.Cursor | None = None
        self.known_statements: set[str] = set()
        self.counters = DatabaseCounters()

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    async def open(self, file: str) -> None:
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
        if self._current is not None:
            await self.roll_back(self._current)
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._queue.close()

    async def begin(self) -> sqlite3.Cursor:
        await self._queue.enter()
        try:
            connection = self._require_open()
            await self._patiently(lambda: connection.execute("begin immediate"), "begin a transaction")
        except BaseException:
            self._queue.leave()
            raise
        self._current = connection.cursor()
        return self._current

    async def commit(self, then: Callable[[], None]) -> None:
        committed = False

        def commit() -> None:
            nonlocal committed
            try:
                self._require_open().execute("commit")
                committed = True
            finally:
                self._finish()

        try:
            await (self._queue.run(commit) if self._durable else _inline(commit))
        except sqlite3.Error as error:
            raise explain(error, self._path, "commit") from error
        finally:
            self._current = None
            self._queue.leave()
            if committed:
                self.counters.commits += 1
                then()

    async def roll_back(self, cursor: sqlite3.Cursor) -> None:
        """Nothing happens unless `cursor` is still the current transaction's."""
        await self._queue.idle()
        if self._current is not cursor:
            return
        self._current = None
        try:
            self._finish()
        finally:
            self._queue.leave()

    def _finish(self) -> None:
        """Leave no transaction behind, then let other processes in. In the thread or on the loop."""
        try:
            if self._connection is not None and self._connection.in_transaction:
                self._connection.execute("rollback")
        finally:
            self._queue.leave_file()

    def _connect(self, file: str) -> None:
        connection = _connection(file)
        try:
            connection.execute(f"pragma synchronous = {'full' if self._durable else 'off'}")
            connection.execute("pragma journal_mode = wal")
            _claim(connection, self._path)
        except BaseException:
            connection.close()
            raise
        self._connection = connection

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

    def _require_open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise ClosedError(self._path, "begin a transaction")
        return self._connection


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
        self._in_memory = str(path) == MEMORY
        self._path = MEMORY if self._in_memory else str(Path(path).absolute())
        self._writer = _Writer(self._path, patience, wal_limit, durable=not self._in_memory)
        self._reader: sqlite3.Cursor | None = None
        self._opening = asyncio.Lock()
        self._remove_files: Callable[[], object] = _nothing

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
            if self._writer.is_open:
                return
            try:
                file = self._make_place()
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
        return SqliteTransaction(self, self._writer, await self._writer.begin())

    @asynccontextmanager
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
            raise explain(error, self._path, f"read {_short(sql)!r}") from error
        self.counters.statements += 1
        return rows

    def data_version(self) -> int:
        """A number that changes when anything was committed to the file, here or in any process."""
        ((version,),) = self.read("pragma data_version")
        assert isinstance(version, int)  # SQLite says so
        return version

    def _make_place(self) -> str:
        if self._in_memory:
            folder = tempfile.mkdtemp(prefix="antiphon-")
            self._remove_files = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            return str(Path(folder, "memory.db"))
        try:
            Path(self._path).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise explain_os(error, self._path, "make its folder") from error
        return self._path

    async def _close(self) -> None:
        if self._reader is not None:
            self._reader.connection.close()
            self._reader = None
        await self._writer.close()
        self._remove_files()

    def _require_reader(self) -> sqlite3.Cursor:
        if self._reader is None:
            raise ClosedError(self._path, "read")
        return self._reader


async def _inline(work: Callable[[], None]) -> None:
    work()


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


def _claim(writer: sqlite3.Connection, path: str) -> None:
    """Refuse another program's file; mark a new one as ours. Proves that the file can be written."""
    writer.execute("begin immediate")
    try:
        (found,) = writer.execute("pragma application_id").fetchone()
        if found not in (0, APPLICATION_ID):
            raise StoreError(f"{path}: it belongs to another program (application id {found:#x}): name another path")
        if found == 0 and writer.execute("select not exists (select 1 from sqlite_schema)").fetchone()[0]:
            writer.execute(f"pragma application_id = {APPLICATION_ID}")
    except BaseException:
        writer.execute("rollback")
        raise
    writer.execute("commit")


def _columns(cursor: sqlite3.Cursor) -> list[str]:
    return [column[0] for column in cursor.description or ()]


def _statements(sql: str) -> Iterable[str]:
    """The statements of a script; a semicolon in a string, a comment or a trigger divides nothing."""
    pending = ""
    for piece in sql.split(";"):
        pending += piece + ";"
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
    if _first_word(pending.removesuffix(";")):
        yield pending.removesuffix(";")


def _first_word(sql: str) -> str:
    rest = sql.lstrip()
    while rest.startswith(("--", "/*")):
        end = "\n" if rest.startswith("--") else "*/"
        rest = rest.partition(end)[2].lstrip()
    return rest.split(None, 1)[0].rstrip(";").lower() if rest else ""


def _short(sql: str) -> str:
    text = " ".join(sql.split())
    return text if len(text) <= 120 else text[:117] + "..."


def _nothing() -> None:
    return None
