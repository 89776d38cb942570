"""What do we ask of the SQLite driver? The only file that imports it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Self, cast

from antiphon.errors import StoreError, TransactionEndedError, UnsupportedCapabilityError
from antiphon.storage.endings import refused_ending
from antiphon.storage.statements import ends_transaction, shorten, split_script

Connection = sqlite3.Connection
Cursor = sqlite3.Cursor
DriverError = sqlite3.Error
REFUSED = (sqlite3.Error, sqlite3.Warning, OverflowError, UnicodeError)
"""What running a statement may raise: the driver's own, and these for values that do not fit a column."""

APPLICATION_ID = 0x414E5450  # "ANTP", in the header of every file that we made
_CHECKPOINT_PAGES = 1000
_CACHE_KILOBYTES = 16_000  # marks of ids in no order touch pages all over the inbox

is_complete = sqlite3.complete_statement


def require_returning() -> None:
    """Raise UnsupportedCapabilityError when this Python brings a SQLite that is too old."""
    if sqlite3.sqlite_version_info < (3, 35):
        reason = f"this Python brings SQLite {sqlite3.sqlite_version}; use one with 3.35 or newer"
        raise UnsupportedCapabilityError("the SQLite store", "`returning`", reason)


def connect_reader(file: str) -> Cursor:
    """A cursor that only reads. It waits for nothing but another process's recovery after a crash, which is short."""
    connection = _connect(file, timeout=1)
    connection.execute("pragma query_only = on")
    return connection.cursor()


def connect_writer(file: str, path: str, *, durable: bool) -> Cursor:
    """A cursor that writes, never waiting for locks; durable commits wait for the disk. `path` is for error texts."""
    connection = _connect(file, timeout=0)
    try:
        connection.execute("pragma foreign_keys = on")
        connection.execute(f"pragma cache_size = -{_CACHE_KILOBYTES}")
        connection.execute(f"pragma synchronous = {'full' if durable else 'off'}")
        connection.execute("pragma journal_mode = wal")
        connection.execute(f"pragma wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        _claim(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection.cursor()


def close(cursor: Cursor) -> None:
    """Close it with its connection; a cursor left open would keep the file open behind our back."""
    connection = cursor.connection
    cursor.close()
    sqlite3.Connection.close(connection)


def columns(cursor: Cursor) -> list[str]:
    """The names of the last statement's columns."""
    return [column[0] for column in cursor.description or ()]


def plain_cursor(connection: object) -> Cursor:
    """A cursor of a `sqlite3.Connection` that gives tuples, whatever rows its owner wants."""
    cursor = cast("sqlite3.Connection", connection).cursor()
    cursor.row_factory = None
    return cursor


def undo_everything(cursor: Cursor) -> None:
    """Roll back whatever transaction there is; a failing disk may have undone it already."""
    if cursor.connection.in_transaction:
        with contextlib.suppress(sqlite3.Error):
            sqlite3.Connection.cursor(cursor.connection).execute("rollback")


def undo_at_once(cursor: Cursor) -> None:
    """Roll back a transaction that another thread may be writing in; what it begins from now on cannot write."""
    with contextlib.suppress(sqlite3.Error):
        sqlite3.Connection.cursor(cursor.connection).execute("pragma query_only = on")
    undo_everything(cursor)


def empty_wal(cursor: Cursor) -> bool:
    """Copy the write-ahead log into the file and cut it; False while readers or a full disk are in the way."""
    try:
        (busy, _, _) = cursor.connection.execute("pragma wal_checkpoint(truncate)").fetchone()
    except sqlite3.Error:
        return False
    return bool(busy == 0)


class LentConnection(sqlite3.Connection):
    """A connection in a handler's hands: it may run anything but what ends its transaction."""

    is_over = False
    """Whether the handler that it was given to has ended."""

    def cursor(self, factory: type[sqlite3.Cursor] | None = None) -> sqlite3.Cursor:  # type: ignore[override]  # the driver's has overloads
        """A cursor that runs no such statement either."""
        return super().cursor(factory or _LentCursor)

    def commit(self) -> None:
        """Refused."""
        raise _refused("commit()")

    def rollback(self) -> None:
        """Refused."""
        raise _refused("rollback()")

    def close(self) -> None:
        """Refused."""
        raise _refused("close()")

    # The driver's own would not come by the cursor above.
    def execute(self, sql: str, parameters: object = (), /) -> sqlite3.Cursor:
        """As the driver's, by a cursor of ours."""
        return self.cursor().execute(sql, cast("Sequence[str]", parameters))

    def executemany(self, sql: str, parameters: Iterable[object], /) -> sqlite3.Cursor:
        """As the driver's, by a cursor of ours."""
        return self.cursor().executemany(sql, cast("Iterable[Sequence[str]]", parameters))

    def executescript(self, script: str, /) -> sqlite3.Cursor:
        """As the driver's, which would commit first."""
        return self.cursor().executescript(script)

    def __enter__(self) -> Self:
        """Refused, since its end would commit."""
        raise _refused("`with connection`")


class _LentCursor(sqlite3.Cursor):
    def execute(self, sql: str, parameters: object = (), /) -> Self:
        _require_harmless(self.connection, sql)
        return super().execute(sql, cast("Sequence[str]", parameters))

    def executemany(self, sql: str, parameters: Iterable[object], /) -> Self:
        _require_harmless(self.connection, sql)
        return super().executemany(sql, cast("Iterable[Sequence[str]]", parameters))

    def executescript(self, script: str, /) -> Self:
        for statement in split_script(script, is_complete):
            self.execute(statement)
        return self


def _refused(tried: str) -> TransactionEndedError:
    return refused_ending(tried, "the connection")


def _require_harmless(connection: sqlite3.Connection, sql: str) -> None:
    if isinstance(connection, LentConnection) and connection.is_over:
        raise sqlite3.ProgrammingError("the handler that this connection was given to has ended")
    if ends_transaction(sql):
        raise _refused(repr(shorten(sql)))


def connect_lent(file: str, *, durable: bool) -> Cursor:
    """A cursor of our own on a connection that a handler may be given; it waits for no lock."""
    connection = _connect(file, timeout=0, factory=LentConnection)
    cursor = sqlite3.Connection.cursor(connection)
    cursor.execute("pragma foreign_keys = on")
    cursor.execute(f"pragma synchronous = {'full' if durable else 'off'}")
    return cursor


def lent_connection(cursor: Cursor) -> LentConnection:
    """What the handler is given, of a cursor that `connect_lent` made."""
    return cast("LentConnection", cursor.connection)


def _connect(file: str, timeout: float, factory: type[sqlite3.Connection] = sqlite3.Connection) -> sqlite3.Connection:
    connection = sqlite3.connect(
        file, timeout=timeout, isolation_level=None, check_same_thread=False, cached_statements=512, factory=factory
    )
    connection.execute("pragma temp_store = memory")
    return connection


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
