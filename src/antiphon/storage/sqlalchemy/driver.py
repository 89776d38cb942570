"""What do we ask of SQLAlchemy? The only file that imports it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import cast

from sqlalchemy import (
    BigInteger,
    Connection,
    CursorResult,
    Engine,
    Float,
    LargeBinary,
    TextClause,
    UnicodeText,
    bindparam,
    event,
    text,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.types import NullType, TypeEngine

from antiphon.storage.database import Row, SqlValue
from antiphon.storage.joining import NOTHING, Reply, named

__all__ = [
    "AsyncConnection",
    "AsyncSession",
    "Connection",
    "DriverError",
    "Maker",
    "Session",
    "engine_of",
    "has_autocommit",
    "made_by",
    "reply_of",
    "statement",
    "unscoped",
    "watch_commits",
]

DriverError = SQLAlchemyError
Maker = Callable[[], Session | AsyncSession]
_Class = type[Session | AsyncSession]

_TYPES: Mapping[type, TypeEngine[int] | TypeEngine[float] | TypeEngine[str] | TypeEngine[bytes]] = {
    int: BigInteger(),
    float: Float(),
    str: UnicodeText(),
    bytes: LargeBinary(),
}


def statement(sql: str, args: Sequence[SqlValue]) -> TextClause:
    """One of our own statements for any driver; some drivers have to be told the types of values."""
    return _statement(sql, tuple(type(value) for value in args))


@lru_cache(maxsize=1000)
def _statement(sql: str, kinds: tuple[type, ...]) -> TextClause:
    clause = text(named(sql, ":{}"))
    types = {f"p{number}": _TYPES.get(kind, NullType()) for number, kind in enumerate(kinds, start=1)}
    return clause.bindparams(*(bindparam(name, type_=kind) for name, kind in types.items()))


def reply_of(result: CursorResult[tuple[object, ...]]) -> Reply:
    """What a statement returned."""
    if not result.returns_rows:
        return NOTHING
    columns = list(result.keys())
    return Reply([cast("Row", tuple(row)) for row in result], columns)


def unscoped(session: object) -> object:
    """The session that a `scoped_session` stands for here, and anything else as it is."""
    if isinstance(session, scoped_session):
        return cast("scoped_session[Session]", session)()
    return cast("Callable[[], object]", session)() if type(session).__name__ == "async_scoped_session" else session


def engine_of(session: Session | Connection) -> Engine:
    """What it gets its connections from. Raises DriverError, as for a session that has several or none."""
    bind = session.get_bind() if isinstance(session, Session) else session
    return bind.engine


def has_autocommit(connection: Connection) -> bool:
    """Whether each statement commits by itself."""
    level = connection.get_execution_options().get("isolation_level")
    if level is None:
        level = getattr(connection.dialect, "_on_connect_isolation_level", None)
    return level == "AUTOCOMMIT"


def made_by(maker: Maker) -> _Class | None:
    """The class of the sessions that it makes; None for what is no maker of sessions."""
    if not isinstance(maker, sessionmaker | async_sessionmaker):
        return None
    return cast("_Class", maker.class_)  # pyright: ignore[reportUnknownMemberType] - isinstance loses its parameter


def watch_commits(session: Session, told: Callable[[Session], None]) -> None:
    """Call `told` before the session commits anything; what it raises keeps it from that."""
    event.listen(session, "before_commit", told)
