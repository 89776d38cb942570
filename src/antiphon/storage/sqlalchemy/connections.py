"""How do we write over a session or connection of SQLAlchemy that is the application's?

Through SQLAlchemy itself, with named values, so that any driver will do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from antiphon.errors import StoreError, UsageError
from antiphon.storage.database import SqlValue
from antiphon.storage.dialects import Dialect
from antiphon.storage.faults import explain_wrapped
from antiphon.storage.joining import Reply, by_name
from antiphon.storage.sqlalchemy.driver import (
    AsyncConnection,
    AsyncSession,
    Connection,
    DriverError,
    Session,
    engine_of,
    has_autocommit,
    reply_of,
    statement,
    unscoped,
)
from antiphon.storage.statements import shorten

_DIALECTS: Mapping[str, Dialect] = {"sqlite": "sqlite", "postgresql": "postgres"}


class AlchemyConnection:
    """As a `PlainConnection`, over a Session, a scoped_session or a Connection."""

    def __init__(self, session: object) -> None:
        self._session = cast("Session | Connection", unscoped(session))
        self.name = f"SQLAlchemy's {type(self._session).__name__}"
        self.dialect: Dialect = dialect_of(self._session, self.name)

    def require_transaction(self) -> None:
        """As `Connection.require_transaction`."""
        _require_open(self._session, self.name)
        try:
            _require_no_autocommit(self._connection(), self.name)
        except DriverError as error:
            raise explained(self.dialect, error, self.name, "begin a transaction") from error

    def run(self, sql: str, args: Sequence[SqlValue]) -> Reply:
        """As `PlainConnection.run`."""
        try:
            return reply_of(self._connection().execute(statement(sql, args), by_name(args)))
        except DriverError as error:
            raise explained(self.dialect, error, self.name, f"run {shorten(sql)!r}") from error

    def run_many(self, sql: str, rows: Sequence[Sequence[SqlValue]]) -> None:
        """As `PlainConnection.run_many`."""
        try:
            self._connection().execute(statement(sql, rows[0]), [by_name(row) for row in rows])
        except DriverError as error:
            raise explained(self.dialect, error, self.name, f"run {shorten(sql)!r}") from error

    def _connection(self) -> Connection:
        return self._session.connection() if isinstance(self._session, Session) else self._session


class AsyncAlchemyConnection:
    """As an `AwaitedConnection`, over an AsyncSession, an async_scoped_session or an AsyncConnection."""

    def __init__(self, session: object) -> None:
        self._session = cast("AsyncSession | AsyncConnection", unscoped(session))
        self.name = f"SQLAlchemy's {type(self._session).__name__}"
        self.dialect: Dialect = dialect_of(_plain(self._session), self.name)
        self._is_checked = False

    def require_transaction(self) -> None:
        """As `Connection.require_transaction`; whether it commits by itself is seen at the first statement."""
        _require_open(_plain(self._session), self.name)

    async def run(self, sql: str, args: Sequence[SqlValue]) -> Reply:
        """As `AwaitedConnection.run`."""
        try:
            connection = await self._connection()
            return reply_of(await connection.execute(statement(sql, args), by_name(args)))
        except DriverError as error:
            raise explained(self.dialect, error, self.name, f"run {shorten(sql)!r}") from error

    async def run_many(self, sql: str, rows: Sequence[Sequence[SqlValue]]) -> None:
        """As `AwaitedConnection.run_many`."""
        try:
            connection = await self._connection()
            await connection.execute(statement(sql, rows[0]), [by_name(row) for row in rows])
        except DriverError as error:
            raise explained(self.dialect, error, self.name, f"run {shorten(sql)!r}") from error

    async def _connection(self) -> AsyncConnection:
        session = self._session
        connection = await session.connection() if isinstance(session, AsyncSession) else session
        if not self._is_checked:
            _require_no_autocommit(connection.sync_connection, self.name)
            self._is_checked = True
        return connection


def dialect_of(session: Session | Connection, name: str) -> Dialect:
    """Whose words it takes. Raises UsageError for a database that we have no tables in."""
    try:
        found = engine_of(session).dialect.name
    except DriverError as error:
        raise UsageError(f"{name} has no engine of its own: give session.connection() instead: {error}") from error
    dialect = _DIALECTS.get(found)
    if dialect is None:
        raise UsageError(f"{name} is on {found!r}: Antiphon keeps tables in {' and '.join(sorted(_DIALECTS))} only")
    return dialect


def explained(dialect: Dialect, error: Exception, name: str, tried: str) -> StoreError:
    """Our error for one of SQLAlchemy's."""
    return explain_wrapped(dialect, error, name, tried)


def _plain(session: AsyncSession | AsyncConnection) -> Session | Connection:
    if isinstance(session, AsyncSession):
        return session.sync_session
    if session.sync_connection is None:
        raise UsageError("SQLAlchemy's AsyncConnection is not open: give it inside `async with engine.begin()`")
    return session.sync_connection


def _require_open(session: Session | Connection, name: str) -> None:
    if isinstance(session, Connection) and session.closed:
        raise UsageError(f"{name} is closed: give one that is open")


def _require_no_autocommit(connection: Connection | None, name: str) -> None:
    if connection is not None and has_autocommit(connection):
        raise UsageError(
            f"{name} commits each statement by itself (isolation level AUTOCOMMIT), so that nothing could take back "
            "what is written: use an engine with another level"
        )
