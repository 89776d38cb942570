"""Every kind of session and connection that a handler can ask for, each with a handler that misbehaves when told to."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

import django
import psycopg
import sqlalchemy as sa
from django.conf import settings
from django.db import connections, transaction
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from antiphon import Key, Struct, event
from antiphon.storage.django import DjangoSessions
from antiphon.storage.sqlalchemy import SqlAlchemySessions

SQLITE_LEDGER = "create table if not exists ledger (id integer primary key, order_id text not null)"
POSTGRES_LEDGER = "create table if not exists ledger (id bigserial primary key, order_id text not null)"
INSERT = "insert into ledger (order_id) values "
CUT = "select pg_terminate_backend(pg_backend_pid())"


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


@event(topic="payments")
class OrderPaid(Struct, frozen=True):
    order_id: Key[str]


class Base(DeclarativeBase):
    pass


class Entry(Base):
    __tablename__ = "ledger"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[str]


class Setup(NamedTuple):
    """What a service is given, its handler, and what is to be closed in the end."""

    handler: Callable[..., object]
    sessions: object = ()
    close: Callable[[], object] = lambda: None


def _refuse_bad(order_id: str) -> None:
    if order_id == "bad":
        raise ValueError("a bad order")


class Fault:
    """What the handlers do besides writing and emitting, called with the order; tests replace what it `does`."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.does: Callable[[str], None] = _refuse_bad

    def __call__(self, order_id: str) -> None:
        self.calls.append(order_id)
        self.does(order_id)

    def cuts(self, order_id: str) -> bool:
        """Whether the handler is to cut its own connection now: the first time that it has the order `cut`."""
        return order_id == "cut" and self.calls.count("cut") == 1


def sqlite_awaited(url: str, fault: Fault) -> Setup:
    async def pay(order: OrderPlaced, connection: sqlite3.Connection) -> OrderPaid:
        _over_sqlite(order.order_id, connection, fault)
        return OrderPaid(order.order_id)

    return Setup(pay)


def sqlite_plain(url: str, fault: Fault) -> Setup:
    def pay(order: OrderPlaced, connection: sqlite3.Connection) -> OrderPaid:
        _over_sqlite(order.order_id, connection, fault)
        return OrderPaid(order.order_id)

    return Setup(pay)


def _over_sqlite(order_id: str, connection: sqlite3.Connection, fault: Fault) -> None:
    connection.execute(INSERT + "(?)", [order_id])
    connection.executescript("savepoint own; rollback to own; release own")
    fault(order_id)
    if order_id == "commit":
        connection.commit()
    elif order_id == "rollback":
        connection.rollback()
    elif order_id == "close":
        connection.close()
    elif order_id == "with":
        with connection:
            pass
    elif order_id == "sql":
        connection.execute("  COMMIT;")
    elif order_id == "behind":
        connection.cursor(sqlite3.Cursor).execute("commit")


def psycopg_awaited(url: str, fault: Fault) -> Setup:
    async def pay(order: OrderPlaced, connection: psycopg.AsyncConnection[psycopg.rows.TupleRow]) -> OrderPaid:
        order_id = order.order_id
        await connection.execute(INSERT + "(%s)", [order_id])
        async with connection.transaction():
            await connection.execute("select 1")
        fault(order_id)
        if fault.cuts(order_id):
            await connection.execute(CUT)
        if order_id == "commit":
            await connection.commit()
        elif order_id == "rollback":
            await connection.rollback()
        elif order_id == "close":
            await connection.close()
        elif order_id == "with":
            async with connection:
                pass
        elif order_id == "sql":
            await connection.execute("  COMMIT;")
        elif order_id == "behind":
            await psycopg.AsyncCursor(connection).execute("commit")
        return OrderPaid(order_id)

    return Setup(pay)


def psycopg_plain(url: str, fault: Fault) -> Setup:
    def pay(order: OrderPlaced, connection: psycopg.Connection) -> OrderPaid:
        order_id = order.order_id
        connection.execute(INSERT + "(%s)", [order_id])
        with connection.transaction():
            connection.execute("select 1")
        fault(order_id)
        if fault.cuts(order_id):
            connection.execute(CUT)
        if order_id == "commit":
            connection.commit()
        elif order_id == "rollback":
            connection.rollback()
        elif order_id == "close":
            connection.close()
        elif order_id == "with":
            with connection:
                pass
        elif order_id == "sql":
            connection.execute("  COMMIT;")
        elif order_id == "behind":
            psycopg.Cursor(connection).execute("commit")
        return OrderPaid(order_id)

    return Setup(pay)


def alchemy_awaited(url: str, fault: Fault) -> Setup:
    engine = create_async_engine(alchemy_url(url, "aiosqlite"), connect_args=_options(url))

    async def pay(order: OrderPlaced, session: AsyncSession) -> OrderPaid:
        order_id = order.order_id
        session.add(Entry(order_id=order_id))
        async with session.begin_nested():
            await session.execute(sa.text("select 1"))
        fault(order_id)
        if fault.cuts(order_id):
            await session.execute(sa.text(CUT))
        if order_id == "commit":
            await session.commit()
        elif order_id == "rollback":
            await session.rollback()
        elif order_id == "close":
            await session.close()
        elif order_id in ("sql", "behind"):
            await session.execute(sa.text("commit"))
        elif order_id == "with":
            async with session.begin():
                pass
        return OrderPaid(order_id)

    return Setup(pay, SqlAlchemySessions(async_sessionmaker(engine)), engine.dispose)


def alchemy_plain(url: str, fault: Fault) -> Setup:
    engine = sa.create_engine(alchemy_url(url), connect_args=_options(url))

    def pay(order: OrderPlaced, session: Session) -> OrderPaid:
        order_id = order.order_id
        session.add(Entry(order_id=order_id))
        with session.begin_nested():
            session.execute(sa.text("select 1"))
        fault(order_id)
        if fault.cuts(order_id):
            session.execute(sa.text(CUT))
        if order_id == "commit":
            session.commit()
        elif order_id == "rollback":
            session.rollback()
        elif order_id == "close":
            session.close()
        elif order_id in ("sql", "behind"):
            session.execute(sa.text("commit"))
        elif order_id == "with":
            with session.begin():
                pass
        return OrderPaid(order_id)

    return Setup(pay, SqlAlchemySessions(sessionmaker(engine)), engine.dispose)


def of_django(url: str, fault: Fault) -> Setup:
    alias = django_database(url)

    def pay(order: OrderPlaced) -> OrderPaid:
        order_id, database = order.order_id, connections[alias]
        with database.cursor() as cursor:
            cursor.execute(INSERT + "(%s)", [order_id])
        with transaction.atomic(using=alias):
            pass
        fault(order_id)
        if fault.cuts(order_id):
            with database.cursor() as cursor:
                cursor.execute(CUT)
        if order_id == "commit":
            database.commit()
        elif order_id == "rollback":
            transaction.set_rollback(True, using=alias)
        elif order_id == "close":
            database.rollback()
        elif order_id == "with":
            transaction.set_autocommit(True, using=alias)
        elif order_id in ("sql", "behind"):
            with database.cursor() as cursor:
                cursor.execute("commit")
        return OrderPaid(order_id)

    return Setup(pay, DjangoSessions(using=alias))


ON_SQLITE = {each.__name__: each for each in (sqlite_awaited, sqlite_plain, alchemy_awaited, alchemy_plain, of_django)}
ON_POSTGRES = {
    each.__name__: each for each in (psycopg_awaited, psycopg_plain, alchemy_awaited, alchemy_plain, of_django)
}


def alchemy_url(url: str, driver: str = "") -> str:
    """The store's URL as SQLAlchemy wants it."""
    if url.startswith("sqlite"):
        return url.replace("sqlite", f"sqlite+{driver}" if driver else "sqlite", 1)
    return urlunsplit(urlsplit(url)._replace(scheme="postgresql+psycopg", query=""))


def schema_of(url: str) -> str:
    """The schema of a PostgreSQL store."""
    return urlsplit(url).query.removeprefix("schema=")


def _options(url: str) -> dict[str, str]:
    return {} if url.startswith("sqlite") else {"options": f"-csearch_path={schema_of(url)}"}


def django_database(url: str) -> str:
    """The alias of the store among Django's databases of this process."""
    if not settings.configured:
        settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
        django.setup()
    alias = f"db{len(connections.databases)}"
    found = connections.configure_settings({"default": {}, alias: _django_settings(url)})
    connections.databases[alias] = found[alias]
    return alias


def _django_settings(url: str) -> dict[str, object]:
    if url.startswith("sqlite"):
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": url.removeprefix("sqlite:///")}
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.strip("/"),
        "USER": parts.username,
        "HOST": parts.hostname,
        "PORT": parts.port,
        "CONN_MAX_AGE": 60,
        "OPTIONS": _options(url),
    }


@asynccontextmanager
async def ready(name: str, url: str, fault: Fault):
    """One kind on a store of this URL."""
    setup = {**ON_SQLITE, **ON_POSTGRES}[name](url, fault)
    try:
        yield setup
    finally:
        if (closing := setup.close()) is not None:
            await closing
