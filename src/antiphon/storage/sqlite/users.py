"""How do we write over a `sqlite3.Connection` that is the application's?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

from antiphon.errors import StoreError, UsageError
from antiphon.storage.database import Row, SqlValue
from antiphon.storage.dialects import Dialect
from antiphon.storage.joining import Reply
from antiphon.storage.sqlite.driver import REFUSED, DriverError, columns, plain_cursor
from antiphon.storage.sqlite.errors import explain
from antiphon.storage.statements import shorten


class _Raw(Protocol):
    in_transaction: bool
    isolation_level: str | None


class SqliteConnection:
    """As a `PlainConnection`. It may be told to begin by itself, as it does unless it is in autocommit."""

    dialect: Dialect = "sqlite"
    name = "the sqlite3 connection"

    def __init__(self, connection: object) -> None:
        self._raw = connection

    def require_transaction(self) -> None:
        """As `Connection.require_transaction`."""
        try:
            raw = cast("_Raw", self._raw)
            commits = not raw.in_transaction and _is_autocommit(raw)
        except DriverError as error:
            raise UsageError(f"{self.name} cannot be used: {error}") from error
        if commits:
            raise UsageError(
                f"{self.name} commits each statement by itself, so that nothing could take back what is written: run "
                '"begin" first, or connect without isolation_level=None and autocommit=True'
            )

    def run(self, sql: str, args: Sequence[SqlValue]) -> Reply:
        """As `PlainConnection.run`."""
        try:
            cursor = plain_cursor(self._raw)
            cursor.execute(sql, args)
            rows: list[Row] = cursor.fetchall() if cursor.description is not None else []
            return Reply(rows, columns(cursor))
        except REFUSED as error:
            raise self._explained(error, sql) from error

    def run_many(self, sql: str, rows: Sequence[Sequence[SqlValue]]) -> None:
        """As `PlainConnection.run_many`."""
        try:
            plain_cursor(self._raw).executemany(sql, rows)
        except REFUSED as error:
            raise self._explained(error, sql) from error

    def _explained(self, error: Exception, sql: str) -> StoreError:
        return explain(error, self.name, f"run {shorten(sql)!r}")


def _is_autocommit(raw: _Raw) -> bool:
    # Python 3.12 has a switch for it; without that, or with its old meaning (-1), the isolation level says it.
    switch: object = getattr(raw, "autocommit", -1)
    return switch is True or (switch == -1 and raw.isolation_level is None)
