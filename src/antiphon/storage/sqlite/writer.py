"""Who writes to a SQLite file, when, and how does a transaction end?"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import timedelta

from antiphon.errors import ClosedError
from antiphon.storage.database import Database, DatabaseCounters
from antiphon.storage.sqlite.driver import (
    Cursor,
    DriverError,
    close,
    connect_lent,
    connect_writer,
    empty_wal,
    undo_everything,
)
from antiphon.storage.sqlite.errors import explain, explain_os, is_busy
from antiphon.storage.sqlite.file_lock import FileLock
from antiphon.storage.sqlite.place import Place
from antiphon.storage.sqlite.transaction import SqliteTransaction
from antiphon.storage.sqlite.wal import WalBound
from antiphon.storage.sqlite.write_queue import WriteQueue
from antiphon.storage.statements import KnownStatements


class Writer:
    """The one connection of this process that writes to the file; one transaction at a time."""

    def __init__(self, place: Place, patience: timedelta, wal_limit: int) -> None:
        self.path = place.name
        self.known_statements = KnownStatements()
        self.counters = DatabaseCounters()
        self._place, self._patience, self._durable = place, patience, not place.in_memory
        self._queue = WriteQueue(place.name, FileLock() if self._durable else None, patience)
        self._wal = WalBound(wal_limit)
        self._cursor: Cursor | None = None
        self._current: SqliteTransaction | None = None
        self._commit: asyncio.Event | None = None
        self._closing = False

    async def open(self) -> None:
        """Make the file when it is missing, and connect to it. Raises StoreError."""
        self._closing = False
        self._place.make()
        try:
            self._queue.open(self._place.file)
        except OSError as error:
            raise explain_os(error, self.path, "open it") from error
        await self._queue.enter()
        try:
            await self.patiently(self._connect, "open it")
        finally:
            self._queue.leave()

    async def close(self) -> None:
        """Roll back what runs, turn away who waits, disconnect. Twice is safe."""
        self._closing = True
        if self._current is not None:
            await self._current.rollback()
        await self._queue.close()
        if self._cursor is not None:
            close(self._cursor)
            self._cursor = None
        self._place.remove()

    async def begin(self, database: Database) -> SqliteTransaction:
        """Wait for the turn and begin. Raises ClosedError, StoreUnavailableError."""
        self._require_open("begin a transaction")
        await self._queue.enter()
        try:
            cursor = self._require_open("begin a transaction")
            self._place.require_same()
            await self.patiently(lambda: cursor.execute("begin immediate"), "begin a transaction")
        except BaseException:
            self._queue.leave()
            raise
        self._current = SqliteTransaction(database, self, cursor)
        return self._current

    async def enter(self) -> Callable[[], None]:
        """Wait for the turn, to write over another connection; returns what gives it back, once it is called.

        Raises ClosedError, StoreUnavailableError.
        """
        self._require_open("wait for the turn to write")
        await self._queue.enter()
        try:
            self._require_open("wait for the turn to write")
            self._place.require_same()
        except BaseException:
            self._queue.leave()
            raise
        return self._queue.lend()

    async def connect_lent(self) -> Cursor:
        """Begin over a connection that a handler may be given; the turn is ours already. Raises StoreError."""
        try:
            cursor = connect_lent(self._place.file, durable=self._durable)
        except DriverError as error:
            raise explain(error, self.path, "connect") from error
        try:
            await self.patiently(lambda: cursor.execute("begin immediate"), "begin a transaction")
        except BaseException:
            close(cursor)
            raise
        return cursor

    async def commit_lent(self, cursor: Cursor, then: Callable[[], None]) -> None:
        """Commit what was begun there, in the thread that waits for the disk, then call `then` there.

        Canceling waits for the end.
        """

        def commit() -> None:
            cursor.execute("commit")
            self.counters.commits += 1
            then()

        try:
            await self._queue.run(commit)
        except DriverError as error:
            raise explain(error, self.path, "commit") from error

    async def commit(self, then: Callable[[], None]) -> None:
        """As `Ending.commit`."""
        cursor = self._require_cursor("commit")
        committed = False
        self._commit = asyncio.Event()

        def commit() -> None:
            nonlocal committed
            try:
                cursor.execute("commit")
                committed = True
                if self._durable:
                    self._wal.apply(f"{self._place.file}-wal", lambda: empty_wal(cursor))
            finally:
                self._finish(cursor)

        try:
            if self._durable:
                await self._queue.run(commit)
            else:
                commit()
        except DriverError as error:
            raise explain(error, self.path, "commit") from error
        finally:
            self._current = None
            self._commit.set()
            self._queue.leave()
            if committed:
                self.counters.commits += 1
                then()

    async def roll_back(self, tx: SqliteTransaction) -> None:
        """As `Ending.roll_back`."""
        if self._current is not tx:
            return
        if self._commit is not None and not self._commit.is_set():
            await self._commit.wait()
            return
        self._current = None
        self._finish(self._require_cursor("roll back"))
        self._queue.leave()

    def _finish(self, cursor: Cursor) -> None:
        """Leave no transaction behind, then let other processes in. In the thread or on the loop."""
        undo_everything(cursor)
        self._queue.leave_file()

    def _connect(self) -> None:
        self._cursor = connect_writer(self._place.file, self.path, durable=self._durable)
        self._place.remember()

    async def patiently(self, attempt: Callable[[], object], tried: str) -> None:
        """Try until no foreign program holds SQLite's own lock. Short random waits share it fairly."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience.total_seconds()
        while True:
            try:
                attempt()
                return
            except DriverError as error:
                if not is_busy(error) or loop.time() > deadline:
                    raise explain(error, self.path, tried) from error
            await asyncio.sleep(random.uniform(0.0005, 0.005))

    def _require_open(self, tried: str) -> Cursor:
        if self._closing:
            raise ClosedError(self.path, tried)
        return self._require_cursor(tried)

    def _require_cursor(self, tried: str) -> Cursor:
        if self._cursor is None:
            raise ClosedError(self.path, tried)
        return self._cursor
