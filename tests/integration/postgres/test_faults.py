"""Whatever happens to the server or the road to it, a transaction is whole or not there, and the error says which."""

import asyncio
import re
from contextlib import asynccontextmanager

import pytest

from antiphon.errors import (
    CommitUnknownError,
    ConstraintError,
    MigrationError,
    StatementError,
    StoreAccessError,
    StoreError,
    StoreFullError,
    StoreReadOnlyError,
    StoreUnavailableError,
    TransactionConflictError,
)
from antiphon.storage.database import Migration
from antiphon.storage.inbox import Inbox
from antiphon.storage.postgres import PostgresDatabase
from antiphon.testing.clock import VirtualClock
from antiphon.testing.servers import free_port
from tests.integration.postgres.cutting import road_to

INSERT = "insert into ledger (entry) values (?)"
ENTRIES = "select entry from ledger order by id"
SLOW_COMMIT = """
create function dawdle() returns trigger language plpgsql as $$ begin perform pg_sleep(30); return null; end $$;
create constraint trigger slow after insert on ledger deferrable initially deferred
    for each row execute function dawdle();
"""


@asynccontextmanager
async def opened(url, **options):
    database = PostgresDatabase(url + "".join(f"&{name}={value}" for name, value in options.items()))
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def backend(tx):
    return (await tx.fetch_one("select pg_backend_pid()"))[0]


async def terminate(database, pid):
    assert await database.fetch("select pg_terminate_backend(?)", pid) == [(True,)]
    while await database.fetch("select 1 from pg_stat_activity where pid = ?", pid):
        await asyncio.sleep(0.01)


async def running(database, text):
    """The backend that runs a statement with this text, once one does."""
    query = "select pid from pg_stat_activity where query like ? and state = 'active' and pid <> pg_backend_pid()"
    while not (found := await database.fetch(query, f"%{text}%", row=int)):
        await asyncio.sleep(0.01)
    return found[0]


async def test_a_connection_cut_before_the_commit_loses_the_transaction_and_says_so(database, tx):
    await tx.execute(INSERT, "lost")
    await terminate(database, await backend(tx))
    # Whether the word of the cut comes before the commit is sent, or after it, is the network's to say.
    with pytest.raises((StoreUnavailableError, CommitUnknownError)) as caught:
        await tx.commit()
    assert caught.value.retryable
    await tx.rollback()
    assert await database.fetch(ENTRIES) == []
    async with database.transaction() as again:
        await again.execute(INSERT, "kept")
    assert await database.fetch(ENTRIES) == [("kept",)]


async def test_a_connection_cut_while_a_statement_runs_is_told_as_lost(database, tx):
    await tx.execute(INSERT, "lost")
    waiting = asyncio.create_task(tx.fetch("select pg_sleep(30)"))
    await terminate(database, await running(database, "pg_sleep(30)"))
    with pytest.raises(StoreUnavailableError, match="terminating connection"):
        await waiting
    with pytest.raises(StoreUnavailableError):
        await tx.execute(INSERT, "late")
    await tx.rollback()
    assert await database.fetch(ENTRIES) == []


async def test_a_connection_cut_during_the_commit_leaves_it_unknown(database, tx):
    await tx.rollback()
    async with database.transaction() as make:
        await make.run_script(SLOW_COMMIT)
    tx = await database.begin()
    called = []
    tx.after_commit(lambda: called.append("committed"))
    await tx.execute(INSERT, "who knows")
    committing = asyncio.create_task(tx.commit())
    await terminate(database, await running(database, "commit"))
    with pytest.raises(CommitUnknownError, match="all was written or nothing") as caught:
        await committing
    assert caught.value.retryable
    assert called == []
    assert await database.fetch(ENTRIES) == []


async def test_after_a_commit_whose_answer_was_lost_the_inbox_says_that_it_was_made(postgres_url):
    now = VirtualClock().now()
    port = int(re.search(r":(\d+)/", postgres_url)[1])
    async with road_to(port) as (road, start), opened(postgres_url.replace(f":{port}/", f":{start}/")) as database:
        async with database.transaction() as tx:
            await tx.execute("create table ledger (id integer, entry text)")
        tx = await database.begin()
        assert await Inbox("payments").mark(tx, ["m1"], now) == [True]
        await tx.execute("insert into ledger values (1, 'once')")
        road.holding = True
        committing = asyncio.create_task(tx.commit())
        await road.held.wait()
        road.cut()
        with pytest.raises(CommitUnknownError):
            await committing
        road.holding = False
        async with database.transaction() as again:
            assert await Inbox("payments").mark(again, ["m1"], now) == [False]
        assert await database.fetch("select * from ledger") == [(1, "once")]


async def test_one_of_two_transactions_that_wait_for_each_other_is_told_to_try_again(database, tx):
    await tx.execute_many(INSERT, [("a",), ("b",)])
    await tx.commit()
    one, other = await database.begin(), await database.begin()
    update = "update ledger set entry = entry || '!' where entry = ? returning id"
    await one.fetch(update, "a")
    await other.fetch(update, "b")
    outcomes = await asyncio.gather(one.fetch(update, "b"), other.fetch(update, "a"), return_exceptions=True)
    (error,) = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert type(error) is TransactionConflictError
    assert error.retryable
    for each, outcome in zip((one, other), outcomes, strict=True):
        await (each.rollback() if outcome is error else each.commit())
    assert sorted(await database.fetch("select entry from ledger", row=str)) == ["a!", "b!"]


async def test_what_could_not_have_happened_one_after_the_other_is_told_to_try_again(postgres_url):
    async with opened(postgres_url, isolation="serializable") as database:
        async with database.transaction() as make:
            await make.execute("create table ledger (entry text)")
        one, other = await database.begin(), await database.begin()
        for each in (one, other):
            assert await each.fetch("select count(*) from ledger", row=int) == [0]
        for each in (one, other):
            await each.execute("insert into ledger values ('the only one')")
        await one.commit()
        with pytest.raises(TransactionConflictError):
            await other.commit()
        assert await database.fetch("select entry from ledger") == [("the only one",)]


async def test_a_server_without_the_ssl_that_is_demanded_is_told_as_that(postgres_url):
    with pytest.raises(StoreAccessError, match=r"sslmode demands SSL, .* turn it on there \(ssl = on\)"):
        await PostgresDatabase(f"{postgres_url}&sslmode=require").open()


@pytest.mark.parametrize("mode", ["prefer", "disable"])
async def test_what_is_no_postgresql_is_told_as_that(mode):
    async def answer(reader, writer):
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    other = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = other.sockets[0].getsockname()[1]
    async with other:
        with pytest.raises(StoreUnavailableError, match="is no PostgreSQL: look at host and port"):
            await PostgresDatabase(f"postgresql://u:p@127.0.0.1:{port}/d?sslmode={mode}&patience=2s").open()


async def test_an_interrupted_migration_applied_nothing_and_can_be_run_again(database):
    slow = Migration(
        1, "make_stock", "create table stock (id integer); select pg_sleep(30); create table more (id integer);"
    )
    migrating = asyncio.create_task(database.migrate("shop", [slow]))
    await terminate(database, await running(database, "pg_sleep(30)"))
    with pytest.raises(StoreUnavailableError):
        await migrating
    assert await database.fetch("select to_regclass('stock')") == [(None,)]
    quick = Migration(1, "make_stock", "create table stock (id integer);")
    assert list(await database.missing("shop", [quick])) == [quick]
    await database.migrate("shop", [quick])
    assert await database.fetch("select * from stock") == []


async def test_the_part_of_a_migration_that_failed_is_named(database):
    wrong = Migration(1, "make_stock", "create table stock (id integer);\ncreate tabel more (id integer);")
    with pytest.raises(MigrationError, match=r"cannot run 'create tabel more \(id integer\);': syntax error"):
        await database.migrate("shop", [wrong])


async def test_when_all_connections_are_in_use_the_error_says_so(postgres_url):
    async with opened(postgres_url, connections=2, patience="200ms") as database:
        held = [await database.begin() for _ in range(2)]
        with pytest.raises(StoreUnavailableError, match=r"all 2 connections .* more than 0:00:00.2.*\?connections="):
            await database.begin()
        with pytest.raises(StoreUnavailableError, match="all 2 connections"):
            await database.fetch("select 1")
        await held[0].rollback()
        assert await database.fetch("select 1") == [(1,)]
        await held[1].rollback()


async def test_a_canceled_statement_is_stopped_on_the_server_and_the_connection_given_up(database, tx):
    waiting = asyncio.create_task(tx.fetch("select pg_sleep(31)"))
    pid = await running(database, "pg_sleep(31)")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(StoreUnavailableError, match="waiting for an answer was canceled"):
        await tx.execute(INSERT, "late")
    async with asyncio.timeout(5):
        await tx.rollback()
        while await database.fetch("select 1 from pg_stat_activity where pid = ?", pid):
            await asyncio.sleep(0.01)


async def test_closing_ends_what_another_task_waits_for(database, tx):
    waiting = asyncio.create_task(tx.fetch("select pg_sleep(32)"))
    await running(database, "pg_sleep(32)")
    async with asyncio.timeout(10):
        await database.close()
        with pytest.raises(StoreUnavailableError, match=r"connection was lost|canceling statement"):
            await waiting
    with pytest.raises(StoreError, match="is over"):
        await tx.fetch("select 1")


async def test_tables_that_change_under_a_prepared_statement_fail_it_once(database, tx):
    await tx.rollback()
    assert await database.fetch("select * from ledger") == []
    async with database.transaction() as change:
        await change.execute("alter table ledger add amount integer")
    with pytest.raises(TransactionConflictError, match="tables were changed meanwhile"):
        await database.fetch("select * from ledger")
    assert await database.fetch("select * from ledger") == []


async def test_many_different_statements_do_not_pile_up_on_the_server(database):
    for _ in range(2):
        async with database.transaction() as tx:
            for number in range(700):
                await tx.execute(f"select {number} + ?", number)
            assert (await tx.fetch_one("select count(*) from pg_prepared_statements"))[0] <= 256


async def test_a_statement_that_failed_to_be_prepared_can_be_tried_again(database, tx):
    await tx.savepoint()
    with pytest.raises(StatementError):
        await tx.fetch("select * from later where id = ?", 1)
    await tx.undo()
    await tx.execute("create table later (id integer)")
    assert await tx.fetch("select * from later where id = ?", 1) == []


async def test_values_of_other_types_find_another_plan(database):
    for value in (1, None, 2**40, 2, None, 2**70, "7"):
        text = "select cast(? as numeric)"
        assert await database.fetch(text, value) == [(None if value is None else int(value),)]
    text = f"select {', '.join(['cast(? as bigint)'] * 6)}"
    async with database.transaction() as tx:
        for number in range(64):
            values = [2**40 if number >> place & 1 else 1 for place in range(6)]
            assert await tx.fetch(text, *values) == [tuple(values)]
        count = "select count(*) from pg_prepared_statements where statement = ?"
        assert await tx.fetch_one(count, text.replace("?", "$%d") % (1, 2, 3, 4, 5, 6)) == (8,)


async def test_a_copy_is_refused_and_the_next_transaction_is_well(database):
    with pytest.raises(StoreError):
        async with database.transaction() as tx:
            await tx.fetch("copy (select 1) to stdout")
    async with database.transaction() as tx:
        assert await tx.fetch("select 1") == [(1,)]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("53100", StoreFullError),
        ("53200", StoreUnavailableError),
        ("55P03", StoreUnavailableError),
        ("57014", StoreUnavailableError),
        ("40001", TransactionConflictError),
        ("40P01", TransactionConflictError),
        ("25006", StoreReadOnlyError),
        ("42501", StoreAccessError),
        ("23514", ConstraintError),
        ("22012", StatementError),
        ("P0001", StatementError),
    ],
)
async def test_what_the_server_says_becomes_the_error_that_tells_what_next(database, code, expected):
    tx = await database.begin()
    await tx.execute(f"do $$ begin raise exception 'as the server says it' using errcode = '{code}'; end $$")
    with pytest.raises(StoreError, match="as the server says it") as caught:
        await tx.commit()
    assert type(caught.value) is expected
    assert type(caught.value.__cause__).__module__.startswith("psycopg")


async def test_a_store_that_may_only_be_read_says_so(database):
    tx = await database.begin()
    await tx.execute("set transaction read only")
    await tx.execute("create table nothing (id integer)")
    with pytest.raises(StoreReadOnlyError, match="name the primary"):
        await tx.commit()


async def test_an_unknown_host_and_a_closed_port_are_unavailable():
    for where in ("no-such-host.invalid:5432", f"127.0.0.1:{free_port()}"):
        database = PostgresDatabase(f"postgresql://someone:s3cret@{where}/there?patience=2s")
        with pytest.raises(StoreUnavailableError, match=f"^postgresql://{where}/there: cannot connect: ") as caught:
            await database.open()
        assert "s3cret" not in str(caught.value) + database.url + repr(database)


async def test_an_unknown_database_is_named(postgres_server):
    database = PostgresDatabase(f"{postgres_server.removesuffix('postgres')}nowhere")
    with pytest.raises(StoreAccessError, match=r'database "nowhere" does not exist: mend user, password and database'):
        await database.open()


async def test_a_schema_that_was_dropped_meanwhile_is_told(database):
    async with database.transaction() as tx:
        await tx.execute(f"drop schema {database.schema} cascade")
    with pytest.raises(StatementError, match=r'relation "antiphon_inbox\w*" does not exist'):
        async with database.transaction() as tx:
            await Inbox("payments").mark(tx, ["m1"], VirtualClock().now())


async def test_who_may_not_make_the_schema_is_told_what_to_grant(database, postgres_server):
    name = f"visitor_{database.schema}"
    async with database.transaction() as tx:
        await tx.execute(f"create role {name} login")
    visitor = PostgresDatabase(postgres_server.replace("postgres@", f"{name}@") + "?schema=not_mine")
    with pytest.raises(StoreAccessError, match=r"permission denied for database postgres: grant it"):
        await visitor.open()


async def test_while_the_server_is_away_few_try_and_all_are_told():
    async with road_to(free_port()) as (road, start):
        database = PostgresDatabase(f"postgresql://someone@127.0.0.1:{start}/there?patience=2s")
        failures = 0
        async with asyncio.timeout(10):
            outcomes = await asyncio.gather(*(database.open() for _ in range(3)), return_exceptions=True)
        failures = [outcome for outcome in outcomes if isinstance(outcome, StoreUnavailableError)]
        assert len(failures) == 3
        assert road.joined <= 3
