"""Tables that an application makes in its own transaction are made once, whoever makes them at the same moment."""

import asyncio
from contextlib import ExitStack, closing

import psycopg
import pytest

from antiphon import Outbox
from antiphon.errors import TransactionConflictError
from antiphon.storage.debezium_outbox import DebeziumOutbox
from antiphon.storage.joining import at_once
from antiphon.storage.making import make_tables_in
from antiphon.storage.migrations import own_migrations
from antiphon.storage.postgres import PostgresDatabase
from antiphon.storage.recognizing import join_plain

OUTBOX = Outbox("shop")


@pytest.fixture
def schema(postgres_url):
    """Made, and without any table."""
    server, _, schema = postgres_url.partition("?schema=")
    with closing(psycopg.connect(server, autocommit=True)) as connection:
        connection.execute(f"create schema {schema}")
    return schema


@pytest.fixture
def connect(postgres_server, schema):
    """Connections of applications, each in a transaction that sees nothing yet."""
    with ExitStack() as stack:

        def connect(isolation=psycopg.IsolationLevel.READ_COMMITTED):
            opened = psycopg.connect(postgres_server, options=f"-c search_path={schema}")
            opened.isolation_level = isolation
            return stack.enter_context(closing(opened))

        yield connect


@pytest.fixture
async def database(postgres_url, schema):
    """That of a service, which has not made its tables yet."""
    database = PostgresDatabase(postgres_url)
    yield database
    await database.close()


async def until_waited_for(connection, server):
    """Until somebody cannot go on before the connection's transaction ends."""
    waiting = "select 1 from pg_stat_activity where %s = any(pg_blocking_pids(pid))"
    async with await psycopg.AsyncConnection.connect(server, autocommit=True) as watching, asyncio.timeout(20):
        while not await (await watching.execute(waiting, [connection.info.backend_pid])).fetchall():
            await asyncio.sleep(0.01)


async def require_all(store):
    assert not await store.missing("antiphon", own_migrations())


async def test_a_service_waits_for_an_application_that_makes_them(database, connect, postgres_server):
    application = connect()
    OUTBOX.make_tables(application)
    opening = asyncio.create_task(database.open())
    await until_waited_for(application, postgres_server)
    application.commit()
    await opening
    await require_all(database)


async def test_a_service_waits_for_an_application_that_makes_what_is_missing(database, connect, postgres_server):
    """As after an older version."""
    application = connect()
    at_once(make_tables_in(join_plain(application), "antiphon", own_migrations()[:3]))
    application.commit()
    OUTBOX.make_tables(application)
    opening = asyncio.create_task(database.open())
    await until_waited_for(application, postgres_server)
    application.commit()
    await opening
    await require_all(database)


async def test_a_service_makes_them_when_the_application_did_not(database, connect, postgres_server):
    application = connect()
    OUTBOX.make_tables(application)
    opening = asyncio.create_task(database.open())
    await until_waited_for(application, postgres_server)
    application.rollback()
    await opening
    await require_all(database)


async def test_an_application_waits_for_another_one(database, connect, postgres_server):
    first, second = connect(), connect()
    OUTBOX.make_tables(first)
    making = asyncio.create_task(asyncio.to_thread(OUTBOX.make_tables, second))
    await until_waited_for(first, postgres_server)
    first.commit()
    await making
    second.commit()
    await database.open()
    await require_all(database)


async def test_a_table_in_another_layout_is_made_once_as_well(database, connect, postgres_server):
    debezium = Outbox("shop", outbox="debezium")
    first, second = connect(), connect()
    debezium.make_tables(first)
    making = asyncio.create_task(asyncio.to_thread(debezium.make_tables, second))
    await until_waited_for(first, postgres_server)
    first.commit()
    await making
    second.commit()
    await database.open()
    assert "aggregatetype" in await DebeziumOutbox().columns(database)


@pytest.mark.parametrize("isolation", [psycopg.IsolationLevel.REPEATABLE_READ, psycopg.IsolationLevel.SERIALIZABLE])
async def test_a_transaction_that_cannot_see_what_was_made_meanwhile_is_told_to_begin_again(
    connect, postgres_server, isolation
):
    first, strict = connect(), connect(isolation)
    OUTBOX.make_tables(first)
    making = asyncio.create_task(asyncio.to_thread(OUTBOX.make_tables, strict))
    await until_waited_for(first, postgres_server)
    first.commit()
    with pytest.raises(TransactionConflictError, match="can be done again"):
        await making
    strict.rollback()
    OUTBOX.make_tables(strict)
    strict.commit()
