"""Whose connection or session is this? Recognized by its class's name, so that no driver is loaded for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import NamedTuple, cast

from antiphon.errors import UsageError
from antiphon.storage.database import Transaction
from antiphon.storage.joining import AwaitedConnection, Inline, JoinedTransaction, PlainConnection


class Kind(NamedTuple):
    """One kind of connection or session: how users call it, and who adapts it, as `module:name`."""

    shown: str
    adapter: str
    is_awaited: bool = False


_SQLITE = Kind("sqlite3.Connection", "antiphon.storage.sqlite.users:SqliteConnection")
_PSYCOPG = Kind("psycopg.Connection", "antiphon.storage.postgres.users:PsycopgConnection")
_ASYNC_PSYCOPG = Kind(
    "psycopg.AsyncConnection", "antiphon.storage.postgres.users:AsyncPsycopgConnection", is_awaited=True
)
_ALCHEMY = Kind("SQLAlchemy's Session or Connection", "antiphon.storage.sqlalchemy:AlchemyConnection")
_ASYNC_ALCHEMY = Kind(
    "SQLAlchemy's AsyncSession or AsyncConnection",
    "antiphon.storage.sqlalchemy:AsyncAlchemyConnection",
    is_awaited=True,
)
_DJANGO = Kind("a connection of Django or its alias", "antiphon.storage.django:DjangoConnection")

KINDS: Mapping[str, Kind] = {
    "sqlite3.Connection": _SQLITE,
    "psycopg.Connection": _PSYCOPG,
    "psycopg.AsyncConnection": _ASYNC_PSYCOPG,
    "sqlalchemy.orm.session.Session": _ALCHEMY,
    "sqlalchemy.orm.scoping.scoped_session": _ALCHEMY,
    "sqlalchemy.engine.base.Connection": _ALCHEMY,
    "sqlalchemy.ext.asyncio.session.AsyncSession": _ASYNC_ALCHEMY,
    "sqlalchemy.ext.asyncio.scoping.async_scoped_session": _ASYNC_ALCHEMY,
    "sqlalchemy.ext.asyncio.engine.AsyncConnection": _ASYNC_ALCHEMY,
    "django.db.backends.base.base.BaseDatabaseWrapper": _DJANGO,
    "django.utils.connection.ConnectionProxy": _DJANGO,
    "builtins.str": _DJANGO,
}
"""Classes by their full names; those that inherit from them are meant, too."""


_LENT = frozenset({"sqlite3.Connection", "psycopg.Connection", "psycopg.AsyncConnection"})
_SESSIONS = frozenset({"sqlalchemy.orm.session.Session", "sqlalchemy.ext.asyncio.session.AsyncSession"})


def is_lent_by_stores(cls: type) -> bool:
    """Whether it is the class of connections that a store gives to handlers."""
    return f"{cls.__module__}.{cls.__qualname__}" in _LENT


def is_given_to_handlers(cls: type) -> bool:
    """Whether a handler that asks for this class is given a session or connection in a transaction."""
    names = {f"{each.__module__}.{each.__qualname__}" for each in cls.__mro__}
    return is_lent_by_stores(cls) or bool(names & _SESSIONS)


def is_for_plain_functions(cls: type) -> bool | None:
    """Whether a session or connection of this class is used by plain functions; None: by coroutines, too."""
    kind = kind_of(cls)
    return None if kind is None or kind is _SQLITE else not kind.is_awaited


def kind_of(cls: type) -> Kind | None:
    """What kind of connection or session objects of this class are, if any."""
    names = (f"{each.__module__}.{each.__qualname__}" for each in cls.__mro__)
    return next((KINDS[name] for name in names if name in KINDS), None)


def join_plain(connection: object, taker: str = "stage") -> JoinedTransaction:
    """The transaction of a connection that is not awaited. Raises UsageError for anything else, and without one.

    `taker` is the method that was called, for error texts; what is awaited has another one, `stage_async`.
    """
    if _is_ours(connection):
        raise UsageError(f"{_named(connection)} is awaited: await {taker}_async() instead of calling {taker}()")
    kind = _known(connection, taker, is_awaited=False)
    if kind.is_awaited:
        raise UsageError(
            f"{_named(connection)} is awaited, and {taker}() waits for nothing: await {taker}_async() instead"
        )
    plain = cast("PlainConnection", _adapted(kind, connection))
    plain.require_transaction()
    return JoinedTransaction(Inline(plain))


def join_awaited(connection: object, taker: str = "stage_async") -> JoinedTransaction:
    """The transaction of a connection that is awaited. Raises UsageError as `join_plain` does."""
    kind = _known(connection, taker, is_awaited=True)
    if not kind.is_awaited:
        raise UsageError(f"{_named(connection)} is not awaited: call {taker.removesuffix('_async')}() instead")
    awaited = cast("AwaitedConnection", _adapted(kind, connection))
    awaited.require_transaction()
    return JoinedTransaction(awaited)


def ours(connection: object) -> Transaction | None:
    """A Transaction of Antiphon's own, as it is; None for anything else."""
    return cast("Transaction", connection) if _is_ours(connection) else None


def _known(connection: object, taker: str, *, is_awaited: bool) -> Kind:
    if isinstance(connection, str) and "://" in connection:
        # It is not quoted, since it may hold a password.
        raise UsageError(f"a URL is no connection: open one, and give {taker}() that")
    kind = kind_of(type(connection))
    if kind is None:
        known = dict.fromkeys(kind.shown for kind in KINDS.values() if kind.is_awaited is is_awaited)
        listed = ", ".join([*known, *(["a Transaction of Antiphon"] if taker == "stage_async" else [])])
        raise UsageError(
            f"{_named(connection)} is no connection or session that is known here: {taker}() takes {listed}"
        )
    return kind


def _is_ours(connection: object) -> bool:
    is_ours = any(each.__module__.startswith("antiphon.") for each in type(connection).__mro__)
    return is_ours and hasattr(connection, "execute_many") and hasattr(connection, "after_commit")


def _adapted(kind: Kind, connection: object) -> object:
    module, _, name = kind.adapter.partition(":")
    adapter: Callable[[object], object] = getattr(import_module(module), name)
    return adapter(connection)


def _named(connection: object) -> str:
    cls = type(connection)
    if connection is None:
        return "None"
    room = cls.__module__.partition(".")[0]
    name = cls.__name__ if room == "builtins" else f"{room} {cls.__name__}"
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
