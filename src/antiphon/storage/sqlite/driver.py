"""What do we ask of the SQLite driver? The only file that imports it."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import cast

from antiphon.errors import StoreError, UnsupportedCapabilityError

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
    connection.close()


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
            cursor.connection.execute("rollback")


def empty_wal(cursor: Cursor) -> bool:
    """Copy the write-ahead log into the file and cut it; False while readers or a full disk are in the way."""
    try:
        (busy, _, _) = cursor.connection.execute("pragma wal_checkpoint(truncate)").fetchone()
    except sqlite3.Error:
        return False
    return bool(busy == 0)


def _connect(file: str, timeout: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        file, timeout=timeout, isolation_level=None, check_same_thread=False, cached_statements=512
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
