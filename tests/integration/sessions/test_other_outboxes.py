"""Events staged in an application's own transaction may go into Debezium's layout or PostgreSQL's log, too."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import asynccontextmanager, closing, contextmanager, suppress

import psycopg
import pytest
import sqlalchemy as sa
from django.db import connections, transaction
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from antiphon import Outbox
from antiphon.errors import DeclarationError, EncodeError, StatementError, UnsupportedCapabilityError
from antiphon.events.clock import SystemClock
from antiphon.storage.connect import connect_store
from antiphon.storage.debezium_outbox import DebeziumOutbox
from antiphon.storage.wal_outbox import WalOutbox, slot_of
from tests.integration.outbox.relaying import Desk
from tests.integration.sessions.conftest import Shop, opened, until
from tests.integration.sessions.kinds import ON_POSTGRES, OrderPlaced, alchemy_url, django_database, schema_of

FIRST, SECOND, GONE = OrderPlaced("first"), OrderPlaced("second"), OrderPlaced("gone")
COLUMNS = "select aggregatetype, aggregateid, type, payload from outbox"


class UndoError(Exception):
    """Raised inside to have a transaction rolled back."""


def options_of(url):
    return {"options": f"-csearch_path={schema_of(url)}"} if url.startswith("postgres") else {}


@contextmanager
def over_sqlite3(url):
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
        yield connection


@contextmanager
def over_psycopg(url):
    with psycopg.connect(url.partition("?")[0], **options_of(url)) as connection:
        yield connection


@contextmanager
def over_alchemys_session(url):
    engine = sa.create_engine(alchemy_url(url), connect_args=options_of(url))
    try:
        with Session(engine) as session, session.begin():
            yield session
    finally:
        engine.dispose()


@contextmanager
def over_alchemys_connection(url):
    engine = sa.create_engine(alchemy_url(url), connect_args=options_of(url))
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


@contextmanager
def over_django(url):
    alias = django_database(url)
    try:
        with transaction.atomic(using=alias):
            yield alias
    finally:
        connections[alias].close()


@asynccontextmanager
async def over_async_psycopg(url):
    async with await psycopg.AsyncConnection.connect(url.partition("?")[0], **options_of(url)) as connection:
        yield connection


@asynccontextmanager
async def over_alchemys_async_session(url):
    engine = create_async_engine(alchemy_url(url, "aiosqlite"), connect_args=options_of(url))
    try:
        async with AsyncSession(engine) as session, session.begin():
            yield session
    finally:
        await engine.dispose()


@asynccontextmanager
async def over_our_own(url):
    store = connect_store(url)
    await store.open()
    try:
        async with store.transaction() as tx:
            yield tx
    finally:
        await store.close()


ANYWHERE = (over_alchemys_session, over_alchemys_connection, over_django)
PLAIN = [("sqlite", over_sqlite3), ("postgres", over_psycopg)]
PLAIN += [(database, over) for over in ANYWHERE for database in ("sqlite", "postgres")]
AWAITED = [("postgres", over_async_psycopg)]
AWAITED += [(name, over) for over in (over_alchemys_async_session, over_our_own) for name in ("sqlite", "postgres")]


def names(value):
    return value if isinstance(value, str) else value.__name__


def each(ways):
    return pytest.mark.parametrize(("database", "over"), ways, ids=names)


@pytest.fixture
def url(request, database, tmp_path):
    """A store that has a schema, where such a one is needed, and no tables."""
    if database == "sqlite":
        return f"sqlite:///{tmp_path}/app.db"
    url = request.getfixturevalue("postgres_url")
    with psycopg.connect(url.partition("?")[0]) as connection:
        connection.execute(f"create schema {schema_of(url)}")
    return url


@asynccontextmanager
async def desk_of(url, outbox):
    """Where relays of this outbox publish to; it has made everything."""
    store = connect_store(url)
    await store.open()
    await outbox.make(store)
    desk = Desk(store, outbox)
    await desk.broker.open()
    try:
        yield desk
    finally:
        if isinstance(outbox, WalOutbox):
            await store.fetch("select pg_drop_replication_slot(?)", await slot_of(store))
        await store.close()


async def published(url, outbox, count):
    """The messages that a relay finds, once there are so many."""
    async with desk_of(url, outbox) as desk, desk.relaying():
        return [(each.key, each.source, json.loads(each.data)) for each in await desk.until_published(count)]


async def stage_in(over, url, outbox, *events):
    async with over(url) as connection:
        return await outbox.stage_async(connection, *events)


async def stage_in_vain(over, url, outbox):
    with suppress(UndoError):
        async with over(url) as connection:
            await outbox.stage_async(connection, GONE)
            raise UndoError


def stage_plainly_in(over, url, outbox, *events):
    with over(url) as connection:
        return outbox.stage(connection, *events)


def stage_plainly_in_vain(over, url, outbox):
    with suppress(UndoError), over(url) as connection:
        outbox.stage(connection, GONE)
        raise UndoError


def both(ids):
    return [(key, "shop", {"order_id": key}) for key in ids]


@each(PLAIN)
def test_every_plain_connection_makes_the_table_and_stages_into_debeziums_layout(over, url):
    outbox = Outbox("shop", outbox="debezium")
    with over(url) as connection:
        outbox.make_tables(connection)
        outbox.make_tables(connection)
    stage_plainly_in_vain(over, url, outbox)
    assert len(set(stage_plainly_in(over, url, outbox, FIRST, SECOND))) == 2
    assert asyncio.run(published(url, DebeziumOutbox(), 2)) == both(["first", "second"])


@each(AWAITED)
async def test_everything_awaited_stages_into_debeziums_layout(over, url):
    outbox = Outbox("shop", outbox=DebeziumOutbox("events"))
    async with desk_of(url, DebeziumOutbox("events")):
        await stage_in_vain(over, url, outbox)
        assert len(set(await stage_in(over, url, outbox, FIRST, SECOND))) == 2
    assert await published(url, DebeziumOutbox("events"), 2) == both(["first", "second"])


@each([way for way in PLAIN if way[0] == "postgres"])
def test_every_plain_connection_stages_into_postgresqls_log(over, url):
    outbox = Outbox("shop", outbox="wal")

    async def main():
        async with desk_of(url, WalOutbox()) as desk, desk.relaying():
            await asyncio.to_thread(stage)
            return [each.key for each in await desk.until_published(3)]

    def stage():
        with over(url) as connection:
            outbox.make_tables(connection)
            outbox.stage(connection, FIRST)
        stage_plainly_in_vain(over, url, outbox)
        stage_plainly_in(over, url, outbox, SECOND, OrderPlaced("third"))

    assert asyncio.run(main()) == ["first", "second", "third"]


@each([way for way in AWAITED if way[0] == "postgres"])
async def test_everything_awaited_stages_into_postgresqls_log(over, url):
    outbox = Outbox("shop", outbox="wal")
    async with desk_of(url, WalOutbox()) as desk, desk.relaying():
        await stage_in_vain(over, url, outbox)
        await stage_in(over, url, outbox, FIRST, SECOND)
        assert [each.key for each in await desk.until_published(2)] == ["first", "second"]


@each([way for way in PLAIN if way[0] == "sqlite"])
def test_a_plain_connection_to_sqlite_has_no_such_log_and_that_is_said(over, url):
    outbox = Outbox("shop", outbox="wal")
    with over(url) as connection:
        with pytest.raises(UnsupportedCapabilityError, match="outbox='wal' is for PostgreSQL"):
            outbox.stage(connection, FIRST)
        with pytest.raises(UnsupportedCapabilityError, match="outbox='wal' is for PostgreSQL"):
            outbox.make_tables(connection)


@each([way for way in AWAITED if way[0] == "sqlite"])
async def test_nothing_awaited_on_sqlite_has_such_a_log_and_that_is_said(over, url):
    with pytest.raises(UnsupportedCapabilityError, match="outbox='wal' is for PostgreSQL"):
        await stage_in(over, url, Outbox("shop", outbox="wal"), FIRST)


@each([("postgres", over_psycopg)])
def test_what_the_server_would_not_keep_is_refused_with_what_to_do(over, url):
    outbox, says_how = Outbox("shop", outbox="wal"), "no slot for its schema: .* would be lost; start `antiphon relay"
    with over(url) as connection:
        with pytest.raises(UnsupportedCapabilityError, match=says_how):
            outbox.stage(connection, FIRST)
        with pytest.raises(UnsupportedCapabilityError, match=says_how):
            outbox.make_tables(connection)
        assert connection.execute("select 1").fetchone() == (1,), "its transaction goes on"


@each([("sqlite", over_sqlite3), ("postgres", over_psycopg)])
def test_a_table_of_somebody_elses_making_stays_as_it_is_and_takes_its_types(over, url):
    outbox = Outbox("shop", outbox=DebeziumOutbox(topics="outbox.{aggregatetype}.events"))
    with over(url) as connection:
        connection.execute(
            "create table outbox (id varchar(36), aggregatetype varchar(50), aggregateid varchar(50), type text, "
            "payload text)"
        )
        outbox.make_tables(connection)
        with pytest.raises(EncodeError, match="its topics are called"):
            outbox.stage(connection, FIRST)
        outbox = Outbox("shop", outbox=DebeziumOutbox(topics="{aggregatetype}s"))
        (id,) = outbox.stage(connection, FIRST, key="other")
    with over(url) as connection:
        ((*row, payload),) = connection.execute(COLUMNS).fetchall()
    assert row == ["order", "other", "OrderPlaced"]
    assert json.loads(payload)["id"] == id


@each([("sqlite", over_alchemys_session), ("postgres", over_alchemys_session), ("postgres", over_django)])
def test_what_debezium_publishes_is_written_and_deleted_at_once(over, url):
    outbox = Outbox("shop", outbox=DebeziumOutbox(published_by="debezium"))
    with over(url) as connection:
        outbox.make_tables(connection)
    stage_plainly_in(over, url, outbox, FIRST, SECOND)

    async def left():
        async with desk_of(url, DebeziumOutbox()) as desk:
            return (await DebeziumOutbox().reader(desk.store, SystemClock()).backlog(SystemClock().now())).messages

    assert asyncio.run(left()) == 0


@each([("sqlite", over_sqlite3), ("postgres", over_psycopg), ("postgres", over_alchemys_session)])
def test_without_the_table_it_says_how_it_comes_to_be(over, url):
    outbox = Outbox("shop", outbox="debezium")
    with pytest.raises(StatementError, match=r"make the tables with Outbox.make_tables\(\)"):
        stage_plainly_in(over, url, outbox, FIRST)


@each([("postgres", over_psycopg)])
def test_a_table_that_lacks_a_column_is_not_taken_for_a_missing_one(over, url):
    with over(url) as connection:
        connection.execute("create table outbox (id uuid)")
    with pytest.raises(StatementError) as caught:
        stage_plainly_in(over, url, Outbox("shop", outbox="debezium"), FIRST)
    assert "make_tables" not in str(caught.value)


async def require_orders_heard_once(shop):
    async def are_heard():
        return len(shop.heard) == 2

    await shop.place("o-1", "o-2")
    await until(are_heard)
    assert shop.heard == await shop.entries() == {"o-1": 1, "o-2": 1}


async def test_what_handlers_emit_over_every_session_goes_by_debeziums_layout(setup, ledger, tmp_path, broker, fault):
    async with opened(Shop(broker, ledger, setup, tmp_path, fault, outbox="debezium")) as shop:
        await require_orders_heard_once(shop)


@pytest.mark.parametrize("way", [("postgres", kind) for kind in ON_POSTGRES], ids="-".join, indirect=True)
async def test_what_handlers_emit_over_every_session_goes_by_postgresqls_log(setup, ledger, tmp_path, broker, fault):
    shop = Shop(broker, ledger, setup, tmp_path, fault, outbox="wal")
    async with desk_of(ledger, WalOutbox()), opened(shop):
        await require_orders_heard_once(shop)


@pytest.mark.parametrize("outbox", ["kafka", DebeziumOutbox, 3, None])
def test_what_is_no_outbox_is_refused(outbox):
    with pytest.raises(DeclarationError, match=r"Outbox\(..., outbox=.* one of 'own', 'debezium', 'wal', or Debezium"):
        Outbox("shop", outbox=outbox)
