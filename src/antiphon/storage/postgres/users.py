"""How do we write over a connection of psycopg that is the application's?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from antiphon.errors import StoreError, UsageError
from antiphon.storage.database import Row, SqlValue
from antiphon.storage.dialects import Dialect
from antiphon.storage.joining import NOTHING, Reply, by_name, named
from antiphon.storage.postgres.driver import (
    UNBINDABLE,
    AnyConnection,
    AwaitedConnection,
    AwaitedCursor,
    PlainConnection,
    PlainCursor,
    awaited_cursor,
    is_idle,
    plain_cursor,
)
from antiphon.storage.postgres.errors import explain
from antiphon.storage.statements import shorten

NAME = "the psycopg connection"


class PsycopgConnection:
    """As a `PlainConnection`."""

    dialect: Dialect = "postgres"

    def __init__(self, connection: object, name: str = NAME) -> None:
        self._raw = cast("PlainConnection", connection)
        self.name = name

    def require_transaction(self) -> None:
        """As `Connection.require_transaction`."""
        _require_transaction(self._raw)

    def run(self, sql: str, args: Sequence[SqlValue]) -> Reply:
        """As `PlainConnection.run`."""
        try:
            cursor = plain_cursor(self._raw)
            cursor.execute(_named(sql), by_name(args))
            return _reply(cursor, cursor.fetchall() if cursor.description is not None else [])
        except UNBINDABLE as error:
            raise explained(error, sql, self.name) from error

    def run_many(self, sql: str, rows: Sequence[Sequence[SqlValue]]) -> None:
        """As `PlainConnection.run_many`."""
        try:
            plain_cursor(self._raw).executemany(_named(sql), [by_name(row) for row in rows])
        except UNBINDABLE as error:
            raise explained(error, sql, self.name) from error


class AsyncPsycopgConnection:
    """As an `AwaitedConnection`."""

    dialect: Dialect = "postgres"

    def __init__(self, connection: object, name: str = NAME) -> None:
        self._raw = cast("AwaitedConnection", connection)
        self.name = name

    def require_transaction(self) -> None:
        """As `Connection.require_transaction`."""
        _require_transaction(self._raw)

    async def run(self, sql: str, args: Sequence[SqlValue]) -> Reply:
        """As `AwaitedConnection.run`."""
        try:
            cursor = awaited_cursor(self._raw)
            await cursor.execute(_named(sql), by_name(args))
            return _reply(cursor, await cursor.fetchall() if cursor.description is not None else [])
        except UNBINDABLE as error:
            raise explained(error, sql, self.name) from error

    async def run_many(self, sql: str, rows: Sequence[Sequence[SqlValue]]) -> None:
        """As `AwaitedConnection.run_many`."""
        try:
            await awaited_cursor(self._raw).executemany(_named(sql), [by_name(row) for row in rows])
        except UNBINDABLE as error:
            raise explained(error, sql, self.name) from error


def explained(error: Exception, sql: str, name: str = NAME) -> StoreError:
    """Our error for the driver's, at one of our statements."""
    return explain(error, name, f"run {shorten(sql)!r}")


def _named(sql: str) -> bytes:
    return named(sql, "%({})s", "%%").encode()


def _reply(cursor: PlainCursor | AwaitedCursor, rows: list[tuple[object, ...]]) -> Reply:
    if cursor.description is None:
        return NOTHING
    return Reply(cast("list[Row]", rows), [column.name for column in cursor.description])


def _require_transaction(raw: AnyConnection) -> None:
    if raw.closed:
        raise UsageError(f"{NAME} is closed: give one that is open")
    if raw.autocommit and is_idle(raw):
        raise UsageError(
            f"{NAME} commits each statement by itself, so that nothing could take back what is written: do it "
            "inside `with connection.transaction():`, or connect without autocommit"
        )
