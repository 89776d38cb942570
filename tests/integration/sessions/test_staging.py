"""Events staged in an application's own transaction leave when it commits, whichever library it writes with."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

import psycopg
import pytest
import sqlalchemy as sa
from django.db import connections, transaction
from psycopg.rows import dict_row
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from antiphon import Outbox
from antiphon.brokers.memory import MemoryBroker
from antiphon.errors import DeclarationError, EncodeError, StatementError, UsageError
from antiphon.runtime.relaying import relay_service
from antiphon.runtime.settings import load_settings
from antiphon.storage.connect import connect_store
from tests.integration.sessions.conftest import until
from tests.integration.sessions.kinds import OrderPlaced, alchemy_url, django_database, schema_of

PLAIN, AWAITED = OrderPlaced("plain"), OrderPlaced("awaited")


@pytest.fixture
def outbox():
    return Outbox("shop")


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path}/app.db"


@pytest.fixture(params=["sqlite", "postgres"])
def url(request):
    """A store that has our tables."""
    found = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")

    async def make():
        store = connect_store(found)
        await store.open()
        await store.close()

    asyncio.run(make())
    return found


@pytest.fixture
def engine(url):
    options = {} if url.startswith("sqlite") else {"options": f"-csearch_path={schema_of(url)}"}
    engine = sa.create_engine(alchemy_url(url), connect_args=options)
    yield engine
    engine.dispose()


@pytest.fixture
async def async_engine(url):
    options = {} if url.startswith("sqlite") else {"options": f"-csearch_path={schema_of(url)}"}
    engine = create_async_engine(alchemy_url(url, "aiosqlite"), connect_args=options)
    yield engine
    await engine.dispose()


def sqlite_connection(url, **options):
    return closing(sqlite3.connect(url.removeprefix("sqlite:///"), **options))


def plain_url(url):
    return url.partition("?")[0]


def of_schema(url):
    return {"options": f"-csearch_path={schema_of(url)}"}


async def staged(url):
    """The keys of what rests in the outbox."""
    store = connect_store(url)
    await store.open()
    try:
        return await store.fetch("select key from antiphon_outbox order by number", row=str)
    finally:
        await store.close()


def staged_now(url):
    return asyncio.run(staged(url))


def test_a_sqlite3_connection(outbox, sqlite_url):
    with sqlite_connection(sqlite_url) as connection:
        outbox.make_tables(connection)
        connection.commit()
        outbox.stage(connection, OrderPlaced("gone"))
        connection.rollback()
        connection.row_factory = sqlite3.Row
        ids = outbox.stage(connection, PLAIN, OrderPlaced("second"))
        assert len(set(ids)) == 2
        assert connection.in_transaction, "nothing may commit by itself"
        connection.commit()
    assert staged_now(sqlite_url) == ["plain", "second"]


def test_a_sqlite3_connection_without_a_transaction_is_refused(outbox, sqlite_url):
    with sqlite_connection(sqlite_url, isolation_level=None) as connection:
        connection.execute("begin")
        outbox.make_tables(connection)
        connection.execute("commit")
        with pytest.raises(UsageError, match="commits each statement by itself"):
            outbox.stage(connection, PLAIN)
        connection.execute("begin")
        outbox.stage(connection, PLAIN)
        connection.execute("commit")
    with pytest.raises(UsageError, match="cannot be used: Cannot operate on a closed database"):
        outbox.stage(connection, PLAIN)
    assert staged_now(sqlite_url) == ["plain"]


def test_a_psycopg_connection(outbox, postgres_url):
    asyncio.run(staged(postgres_url))
    with psycopg.connect(plain_url(postgres_url), row_factory=dict_row, **of_schema(postgres_url)) as connection:
        outbox.stage(connection, OrderPlaced("gone"))
        connection.rollback()
        outbox.stage(connection, PLAIN)
    with pytest.raises(UsageError, match="is closed"):
        outbox.stage(connection, PLAIN)
    with psycopg.connect(plain_url(postgres_url), autocommit=True, **of_schema(postgres_url)) as connection:
        with pytest.raises(UsageError, match="commits each statement by itself"):
            outbox.stage(connection, PLAIN)
        with connection.transaction():
            outbox.stage(connection, OrderPlaced("block"))
    assert staged_now(postgres_url) == ["plain", "block"]


async def test_a_psycopg_connection_that_is_awaited(outbox, postgres_url):
    await staged(postgres_url)
    options = of_schema(postgres_url)
    async with await psycopg.AsyncConnection.connect(plain_url(postgres_url), **options) as connection:
        await outbox.stage_async(connection, OrderPlaced("gone"))
        await connection.rollback()
        await outbox.stage_async(connection, AWAITED)
    assert await staged(postgres_url) == ["awaited"]


def test_tables_are_made_over_a_psycopg_connection_and_twice_is_safe(outbox, postgres_url):
    with psycopg.connect(plain_url(postgres_url)) as connection:
        connection.execute(f"create schema {schema_of(postgres_url)}")
        connection.execute(f"set search_path = {schema_of(postgres_url)}")
        outbox.make_tables(connection)
        outbox.make_tables(connection)
        outbox.stage(connection, PLAIN)
    assert staged_now(postgres_url) == ["plain"]


def test_a_session_of_sqlalchemy(outbox, url, engine):
    with Session(engine) as session:
        outbox.stage(session, OrderPlaced("gone"))
        session.rollback()
        outbox.stage(session, PLAIN, key="other")
        session.commit()
    scoped = scoped_session(sessionmaker(engine))
    outbox.stage(scoped, OrderPlaced("scoped"))
    scoped.commit()
    scoped.remove()
    assert staged_now(url) == ["other", "scoped"]


def test_a_connection_of_sqlalchemy(outbox, url, engine):
    with engine.begin() as connection:
        outbox.stage(connection, PLAIN)
    with engine.connect() as connection:
        outbox.stage(connection, OrderPlaced("never committed"))
    assert staged_now(url) == ["plain"]
    with pytest.raises(UsageError, match="is closed"):
        outbox.stage(connection, PLAIN)
    commits = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    with commits, pytest.raises(UsageError, match="AUTOCOMMIT"):
        outbox.stage(commits, PLAIN)


async def test_a_session_of_sqlalchemy_that_is_awaited(outbox, url, async_engine):
    async with AsyncSession(async_engine) as session:
        await outbox.stage_async(session, OrderPlaced("gone"))
        await session.rollback()
        await outbox.stage_async(session, AWAITED)
        await session.commit()
    scoped = async_scoped_session(async_sessionmaker(async_engine), scopefunc=asyncio.current_task)
    await outbox.stage_async(scoped, OrderPlaced("scoped"))
    await scoped.commit()
    await scoped.remove()
    async with async_engine.begin() as connection:
        await outbox.stage_async(connection, OrderPlaced("connection"))
        await connection.run_sync(outbox.make_tables)
    assert await staged(url) == ["awaited", "scoped", "connection"]


async def test_a_connection_of_sqlalchemy_that_is_not_open_or_commits_by_itself_is_refused(outbox, url, async_engine):
    with pytest.raises(UsageError, match="is not open"):
        await outbox.stage_async(async_engine.connect(), AWAITED)
    async with async_engine.connect() as connection:
        commits = await connection.execution_options(isolation_level="AUTOCOMMIT")
        with pytest.raises(UsageError, match="AUTOCOMMIT"):
            await outbox.stage_async(commits, AWAITED)


def test_a_session_on_a_database_that_we_have_no_tables_in_is_refused(outbox):
    engine = sa.create_mock_engine("mysql://", lambda *_: None)
    with pytest.raises(UsageError, match="no connection or session that is known here"):
        outbox.stage(engine, PLAIN)


def test_djangos_atomic(outbox, url):
    alias = django_database(url)
    with pytest.raises(UsageError, match="in no transaction"):
        outbox.stage(alias, PLAIN)
    with transaction.atomic(using=alias):
        outbox.stage(alias, PLAIN)
        outbox.stage(connections[alias], OrderPlaced("object"))
        outbox.make_tables(alias)
    with transaction.atomic(using=alias):
        outbox.stage(alias, OrderPlaced("gone"))
        transaction.set_rollback(True, using=alias)
    connections[alias].close()
    assert staged_now(url) == ["plain", "object"]


async def test_django_where_nothing_may_wait_is_refused(outbox, sqlite_url):
    with pytest.raises(UsageError, match="from an async context"):
        outbox.stage(django_database(sqlite_url), PLAIN)


def test_an_alias_that_django_does_not_know_is_refused(outbox, sqlite_url):
    django_database(sqlite_url)
    with pytest.raises(UsageError, match="Django has no database 'nowhere'"):
        outbox.stage("nowhere", PLAIN)


async def test_a_transaction_of_our_own(outbox, url):
    store = connect_store(url)
    await store.open()
    async with store.transaction() as tx:
        await outbox.stage_async(tx, AWAITED)
        with pytest.raises(UsageError, match="await stage_async"):
            outbox.stage(tx, PLAIN)
    await store.close()
    assert await staged(url) == ["awaited"]


async def test_what_is_awaited_and_what_is_not_are_told_apart(outbox, sqlite_url, tmp_path):
    async with AsyncSession(create_async_engine(alchemy_url(sqlite_url, "aiosqlite"))) as session:
        with pytest.raises(UsageError, match=r"a sqlalchemy AsyncSession is awaited.*: await stage_async"):
            outbox.stage(session, PLAIN)
    with sqlite_connection(sqlite_url) as connection, pytest.raises(UsageError, match=r"call stage\(\)"):
        await outbox.stage_async(connection, AWAITED)
    for unknown in (3, None, object()):
        with pytest.raises(UsageError, match=r"stage\(\) takes sqlite3.Connection, psycopg.Connection, SQLAlchemy's"):
            outbox.stage(unknown, PLAIN)


async def test_tables_are_made_over_what_is_awaited_and_twice_is_safe(outbox, tmp_path, postgres_url):
    async with await psycopg.AsyncConnection.connect(plain_url(postgres_url)) as connection:
        await connection.execute(f"create schema {schema_of(postgres_url)}")
        await connection.execute(f"set search_path = {schema_of(postgres_url)}")
        await outbox.make_tables_async(connection)
        await outbox.make_tables_async(connection)
        await outbox.stage_async(connection, AWAITED)
    assert await staged(postgres_url) == ["awaited"]
    for number, way in enumerate(("session", "connection", "run_sync")):
        url = f"sqlite:///{tmp_path}/{number}.db"
        engine = create_async_engine(alchemy_url(url, "aiosqlite"))
        async with engine.begin() as connection:
            if way == "session":
                await outbox.make_tables_async(AsyncSession(connection))
            elif way == "connection":
                await outbox.make_tables_async(connection)
            else:
                await connection.run_sync(outbox.make_tables)
            await outbox.stage_async(connection, AWAITED)
        await engine.dispose()
        assert await staged(url) == ["awaited"]


async def test_whoever_makes_tables_is_told_of_that_and_not_of_staging(outbox, sqlite_url):
    async with AsyncSession(create_async_engine(alchemy_url(sqlite_url, "aiosqlite"))) as session:
        with pytest.raises(UsageError, match=r"make_tables\(\) waits for nothing: await make_tables_async\(\) instead"):
            outbox.make_tables(session)
    with sqlite_connection(sqlite_url) as connection, pytest.raises(UsageError, match=r"call make_tables\(\) instead"):
        await outbox.make_tables_async(connection)
    with pytest.raises(UsageError, match=r"make_tables_async\(\) takes psycopg.AsyncConnection, SQLAlchemy's [^,]*$"):
        await outbox.make_tables_async(3)
    store = connect_store(sqlite_url)
    await store.open()
    async with store.transaction() as tx:
        with pytest.raises(UsageError, match="has made its tables when it was opened"):
            await outbox.make_tables_async(tx)
    await store.close()


def test_what_is_no_event_is_told_apart_from_an_event_that_is_not_declared(outbox, sqlite_url):
    with sqlite_connection(sqlite_url) as connection:
        with pytest.raises(UsageError, match=r"OrderPlaced is a class, and no event: make one, as OrderPlaced\(...\)"):
            outbox.stage(connection, OrderPlaced)
        for several in ([PLAIN], (PLAIN,), iter([PLAIN])):
            with pytest.raises(UsageError, match=r"is no event: give what is in it one by one, as \*events"):
                outbox.stage(connection, several)
        for nothing in (None, 5, "x"):
            with pytest.raises(UsageError, match="is no event: give an object of a class that has @event above it"):
                outbox.stage(connection, nothing)
        with pytest.raises(UsageError, match="key=5: the key of a message is a text: give key='5'"):
            outbox.stage(connection, PLAIN, key=5)


async def test_a_url_is_no_connection_and_is_not_shown(outbox):
    with pytest.raises(UsageError, match=r"^a URL is no connection: open one, and give stage\(\) that$"):
        outbox.stage("postgresql://me:secret@host/shop", PLAIN)
    with pytest.raises(UsageError, match=r"^a URL is no connection: open one, and give stage_async\(\) that$"):
        await outbox.stage_async("postgresql://me:secret@host/shop", PLAIN)


@pytest.mark.parametrize("source", [None, 5, "", " "])
def test_an_outbox_without_the_name_of_its_application_is_refused(source):
    with pytest.raises(DeclarationError, match="give it the name of your application"):
        Outbox(source)


async def test_errors_have_the_right_articles(outbox):
    for given, told in ((None, "None is no"), (3, "an int is no"), (object(), "an object is no"), ({}, "a dict is no")):
        with pytest.raises(UsageError, match=f"^{told}"):
            outbox.stage(given, PLAIN)
    with pytest.raises(UsageError, match=r"^a str is not awaited"):
        await outbox.stage_async("default", PLAIN)


def test_without_tables_it_says_how_they_come_to_be(outbox, sqlite_url, postgres_url):
    says_how = pytest.raises(StatementError, match="antiphon storage migrate --store URL")
    with sqlite_connection(sqlite_url) as connection, says_how:
        outbox.stage(connection, PLAIN)
    with psycopg.connect(plain_url(postgres_url)) as connection:
        with pytest.raises(StatementError, match=r"Outbox.make_tables\(\)"):
            outbox.stage(connection, PLAIN)
        connection.rollback()


def test_what_cannot_be_kept_is_refused_and_nothing_is_staged(outbox, sqlite_url):
    with sqlite_connection(sqlite_url) as connection:
        outbox.make_tables(connection)
        with pytest.raises(EncodeError):
            outbox.stage(connection, PLAIN, OrderPlaced("\ud800"))
        connection.commit()
    assert staged_now(sqlite_url) == []


@pytest.mark.parametrize("own_store", [True, False], ids=["apart", "the broker's own file"])
async def test_a_relay_alone_publishes_what_is_staged_and_makes_its_topics(outbox, tmp_path, own_store):
    url = f"sqlite:///{tmp_path}/{'app' if own_store else 'log'}.db"
    settings = load_settings({"broker": f"embedded:///{tmp_path}/log.db"}, {}, tmp_path)
    relay = relay_service(url, settings)
    await relay.start(settings=settings)
    try:
        with sqlite_connection(url) as connection:
            outbox.stage(connection, *(OrderPlaced(str(number)) for number in range(10)))
            connection.commit()

        async def is_out():
            topics = {topic.name: topic for topic in await relay.broker.topics()}
            return "orders" in topics and len(await relay.broker.browse("orders", {}, 100)) == 10

        await until(is_out)
        found = await relay.broker.browse("orders", {}, 100)
        assert {each.message.source for each in found} == {"shop"}
    finally:
        await relay.stop()


async def test_a_service_on_the_same_store_publishes_what_others_stage_there(outbox, sqlite_url, tmp_path):
    broker = MemoryBroker()
    settings = load_settings({}, {}, tmp_path)
    relay = relay_service(sqlite_url, settings)
    await relay.start(broker, settings)
    try:
        with sqlite_connection(sqlite_url) as connection:
            outbox.stage(connection, PLAIN)
            connection.commit()

        async def is_out():
            return any(topic.name == "orders" for topic in await broker.topics()) and await relay.caught_up()

        await until(is_out)
        assert [each.message.key for each in await broker.browse("orders", {}, 100)] == ["plain"]
    finally:
        await relay.stop()
        await broker.close()
        await broker.database.close()
