"""What do we ask of Django? The only file that knows it; loaded late, since Django wants its settings first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Protocol, Self, cast

from antiphon.errors import UsageError


class Cursor(Protocol):
    """A cursor in Django's clothes."""

    @property
    def description(self) -> Sequence[Sequence[object]] | None: ...
    def execute(self, sql: str, params: Mapping[str, object] | Sequence[object] | None = None) -> object: ...
    def executemany(self, sql: str, params: Sequence[Mapping[str, object] | Sequence[object]]) -> object: ...
    def fetchall(self) -> list[tuple[object, ...]]: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...


class DjangoDatabase(Protocol):
    """One of the databases of Django's settings, as this thread is connected to it."""

    alias: str
    vendor: str
    in_atomic_block: bool
    needs_rollback: bool

    def cursor(self) -> Cursor: ...
    def get_autocommit(self) -> bool: ...
    def close(self) -> None: ...
    def close_if_unusable_or_obsolete(self) -> None: ...


class Atomic(Protocol):
    """`django.db.transaction`."""

    def atomic(self, using: str) -> AbstractContextManager[None]: ...


class _Connections(Protocol):
    def __getitem__(self, alias: str) -> DjangoDatabase: ...
    def close_all(self) -> None: ...


class _Django(Protocol):
    connections: _Connections
    transaction: Atomic
    DatabaseError: type[Exception]
    Error: type[Exception]


def _django() -> _Django:
    return cast("_Django", import_module("django.db"))


def database(alias: str) -> DjangoDatabase:
    """The database of that alias, in this thread. Raises UsageError for one that settings do not name."""
    try:
        return _django().connections[alias]
    except Exception as error:
        raise UsageError(f"Django has no database {alias!r}: {error}") from error


def atomic(alias: str) -> AbstractContextManager[None]:
    """`transaction.atomic` on that database, in this thread."""
    return _django().transaction.atomic(using=alias)


def close_all() -> None:
    """Close every connection of this thread."""
    _django().connections.close_all()


def refused() -> tuple[type[Exception], ...]:
    """What a statement may raise."""
    found = cast("type[Exception]", import_module("django.core.exceptions").SynchronousOnlyOperation)
    transaction = cast("type[Exception]", import_module("django.db.transaction").TransactionManagementError)
    return (_django().Error, transaction, found)
