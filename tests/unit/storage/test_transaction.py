"""What a transaction wrote is there together or not at all, and a failed part is undone alone."""

import asyncio

import pytest
from msgspec import Struct

from antiphon.errors import ClosedError, ConstraintError, StatementError, StoreError
from antiphon.storage.sqlite import SqliteDatabase

INSERT = "insert into ledger (entry) values (?)"
ENTRIES = "select entry from ledger order by id"


class Entry(Struct):
    id: int
    entry: str


async def entries(store):
    return await store.fetch(ENTRIES, row=str)


async def test_what_was_committed_is_read_outside(database, tx):
    await tx.execute(INSERT, "a")
    await tx.commit()
    assert await entries(database) == ["a"]


async def test_what_is_not_committed_is_read_inside_only(database, tx):
    await tx.execute(INSERT, "a")
    assert await entries(tx) == ["a"]
    assert await entries(database) == []


async def test_what_was_rolled_back_is_gone(database, tx):
    await tx.execute(INSERT, "a")
    await tx.rollback()
    await tx.rollback()
    assert await entries(database) == []


async def test_an_exception_rolls_back(database, tx):
    await tx.rollback()

    async def fail():
        async with database.transaction() as other:
            await other.execute(INSERT, "a")
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    assert await entries(database) == []


async def test_rows_come_as_tuples_or_as_what_was_asked_for(tx):
    await tx.execute_many(INSERT, [("a",), ("b",)])
    assert await tx.fetch("select id, entry from ledger") == [(1, "a"), (2, "b")]
    assert await tx.fetch("select id, entry from ledger", row=Entry) == [Entry(1, "a"), Entry(2, "b")]
    assert await tx.fetch_one("select id, entry from ledger where entry = ?", "b", row=Entry) == Entry(2, "b")
    assert await tx.fetch_one("select entry from ledger") == ("a",)
    assert await tx.fetch_one("select entry from ledger where id = 9") is None
    assert await tx.fetch_one("select entry from ledger where id = 9", row=str) is None


async def test_the_twins_without_a_coroutine_do_the_same(tx):
    tx.send(INSERT, ("a",))
    tx.send_many(INSERT, (entry for entry in [("b",), ("c",)]))
    assert tx.query(ENTRIES) == [("a",), ("b",), ("c",)]


async def test_a_row_that_comes_back_from_an_ignored_insert_does_not_hold_up_the_commit(database, tx):
    await tx.execute("insert into ledger (entry) values ('a'), ('b') returning id")
    await tx.commit()
    assert await entries(database) == ["a", "b"]


async def test_an_undone_part_leaves_the_rest(database, tx):
    await tx.execute(INSERT, "before")
    await tx.savepoint()
    await tx.execute(INSERT, "undone")
    await tx.undo()
    await tx.savepoint()
    await tx.execute(INSERT, "kept")
    await tx.release()
    await tx.commit()
    assert await entries(database) == ["before", "kept"]


async def test_callbacks_run_in_order_once_it_is_committed(database, tx):
    calls = []
    tx.after_commit(lambda: calls.append("first"))
    tx.after_commit(lambda: calls.append(database.counters.commits))
    before = database.counters.commits
    assert calls == []
    await tx.commit()
    assert calls == ["first", before + 1]


async def test_a_callback_that_fails_is_logged_and_changes_nothing(database, tx, caplog):
    called = []
    await tx.execute(INSERT, "a")
    tx.after_commit(lambda: called[0])
    tx.after_commit(lambda: called.append("second"))
    await tx.commit()
    assert called == ["second"]
    assert await entries(database) == ["a"]
    assert "a callback after a commit failed" in caplog.text


async def test_callbacks_of_an_undone_part_are_dropped(tx):
    calls = []
    tx.after_commit(lambda: calls.append("before"))
    await tx.savepoint()
    tx.after_commit(lambda: calls.append("undone"))
    await tx.undo()
    tx.after_commit(lambda: calls.append("after"))
    await tx.commit()
    assert calls == ["before", "after"]


async def test_callbacks_do_not_run_on_rollback(tx):
    calls = []
    tx.after_commit(lambda: calls.append("never"))
    await tx.rollback()
    assert calls == []


@pytest.mark.parametrize("begin", [True, False])
async def test_parts_do_not_nest_and_none_ends_that_did_not_begin(tx, begin):
    if begin:
        await tx.savepoint()
        with pytest.raises(StoreError, match="open already"):
            await tx.savepoint()
        await tx.release()
    with pytest.raises(StoreError, match="no part"):
        await tx.release()
    with pytest.raises(StoreError, match="no part"):
        await tx.undo()


async def test_a_broken_rule_is_caught_and_the_transaction_goes_on(database, tx):
    await tx.execute("insert into ledger values (1, 'a')")
    with pytest.raises(ConstraintError, match=r"UNIQUE constraint failed: ledger.id") as caught:
        await tx.execute("insert into ledger values (1, 'b')")
    assert type(caught.value.__cause__).__module__ == "sqlite3"
    await tx.execute(INSERT, "c")
    await tx.commit()
    assert await entries(database) == ["a", "c"]


@pytest.mark.parametrize(
    ("sql", "args"),
    [
        ("selec 1", ()),
        ("insert into nowhere values (1)", ()),
        ("insert into ledger values (?, ?)", (1,)),
        ("select 1; select 2", ()),
        ("insert into ledger values (?, 'a')", (2**70,)),
        ("insert into ledger (entry) values (?)", ("\ud800",)),
        ("insert into ledger (entry) values (?)", (object(),)),
    ],
)
async def test_a_wrong_statement_is_refused_and_the_transaction_goes_on(database, tx, sql, args):
    for run in (lambda: tx.execute(sql, *args), lambda: tx.fetch(sql, *args), lambda: database.fetch(sql, *args)):
        with pytest.raises(StatementError, match=r"^:memory:: cannot (run|read) "):
            await run()
    await tx.execute(INSERT, "a")
    assert await entries(tx) == ["a"]


@pytest.mark.parametrize("word", ["commit", "rollback", "end", "begin", "savepoint x"])
async def test_a_statement_cannot_end_the_transaction(database, tx, word):
    await tx.execute(INSERT, "a")
    for run in (lambda: tx.execute(word), lambda: tx.fetch(word), lambda: tx.execute_many(word, [()])):
        with pytest.raises(StatementError, match="who began"):
            await run()
    assert await entries(database) == []
    await tx.commit()
    assert await entries(database) == ["a"]


async def test_after_sqlite_undid_everything_nothing_is_written_outside_a_transaction(database, tx):
    await tx.execute(INSERT, "a")
    await tx.savepoint()
    await tx.execute("insert into ledger values (7, 'b')")
    with pytest.raises(ConstraintError):
        await tx.execute("insert or rollback into ledger values (7, 'c')")
    for run in (
        lambda: tx.execute(INSERT, "d"),
        lambda: tx.execute_many(INSERT, [("d",)]),
        lambda: tx.fetch(ENTRIES),
        tx.release,
        tx.undo,
        tx.savepoint,
        tx.commit,
    ):
        with pytest.raises(StoreError, match="was undone, since a statement failed"):
            await run()
    await tx.rollback()
    async with database.transaction() as other:
        await other.execute(INSERT, "next")
    assert await entries(database) == ["next"]


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_an_ended_transaction_takes_nothing_more(database, tx, end):
    await getattr(tx, end)()
    following = await database.begin()
    for run in (
        lambda: tx.execute(INSERT, "late"),
        lambda: tx.execute_many(INSERT, [("late",)]),
        lambda: tx.fetch(ENTRIES),
        tx.savepoint,
        tx.release,
        tx.undo,
        tx.commit,
    ):
        with pytest.raises(StoreError, match="is over"):
            await run()
    await tx.rollback()
    await following.commit()
    assert await entries(database) == []


async def test_readers_cannot_write(database, tx):
    with pytest.raises(StoreError, match="cannot read 'insert"):
        await database.fetch(INSERT, "a")


async def test_writers_take_turns_in_order_of_arrival(database, tx):
    await tx.rollback()
    order = []

    async def write(number):
        async with database.transaction() as mine:
            order.append(number)
            await asyncio.sleep(0)
            await mine.execute(INSERT, str(number))

    await asyncio.gather(*map(write, range(20)))
    assert order == list(range(20))
    assert await entries(database) == [str(number) for number in range(20)]


async def test_who_is_cancelled_while_waiting_takes_no_turn(database, tx):
    waiting = asyncio.create_task(database.begin())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await tx.commit()
    await (await database.begin()).rollback()


async def test_statements_and_commits_are_counted(database, tx):
    statements, commits = database.counters.statements, database.counters.commits
    await tx.execute(INSERT, "a")
    await tx.execute_many(INSERT, [("b",), ("c",)])
    await tx.savepoint()
    await tx.release()
    await tx.commit()
    await database.fetch(ENTRIES)
    assert (database.counters.statements - statements, database.counters.commits - commits) == (6, 1)


async def test_the_data_version_changes_with_every_commit_and_not_without(database, tx):
    before = database.data_version()
    await tx.execute(INSERT, "a")
    assert database.data_version() == before
    await tx.commit()
    assert database.data_version() != before


async def test_two_databases_in_memory_share_nothing(database, tx):
    other = SqliteDatabase(":memory:")
    await other.open()
    assert await other.fetch("select name from sqlite_schema where name = 'ledger'") == []
    await other.close()


async def test_a_closed_database_says_so():
    database = SqliteDatabase(":memory:")
    for run in (database.begin, lambda: database.fetch("select 1")):
        with pytest.raises(ClosedError):
            await run()
    await database.open()
    await database.open()
    assert await database.fetch("select 1") == [(1,)]
    await database.close()
    await database.close()
    for run in (database.begin, lambda: database.fetch("select 1")):
        with pytest.raises(ClosedError):
            await run()


async def test_closing_rolls_back_what_runs_and_turns_away_who_waits(database, tx):
    calls = []
    tx.after_commit(lambda: calls.append("never"))
    waiting = asyncio.create_task(database.begin())
    await asyncio.sleep(0)
    await database.close()
    with pytest.raises(ClosedError):
        await waiting
    with pytest.raises(StoreError, match="is over"):
        await tx.execute(INSERT, "late")
    with pytest.raises(StoreError, match="is over"):
        await tx.commit()
    assert calls == []
