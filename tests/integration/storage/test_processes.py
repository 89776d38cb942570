"""Several processes share one file: fairly, safely, and none waits for one that is gone."""

import asyncio
import json
import signal
import sqlite3
from datetime import timedelta

import pytest

from antiphon.errors import StoreUnavailableError
from antiphon.storage.sqlite import SqliteDatabase

INSERT = "insert into ledger (writer, entry) values ('test', ?)"


async def test_processes_that_write_without_pause_share_the_file_fairly(path, spawn, opened):
    database = await opened()
    children = [spawn("contend", path, name, 1.5) for name in "abcd"]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    reports = [json.loads(await asyncio.to_thread(child.stdout.readline)) for child in children]
    transactions = [report["transactions"] for report in reports]
    assert max(transactions) < 2 * min(transactions), reports
    assert max(report["longest_ms"] for report in reports) < 500, reports
    written = await database.fetch("select writer, count(*) / 50 from ledger group by writer order by writer")
    assert written == [(report["name"], report["transactions"]) for report in reports]


async def test_processes_that_migrate_at_once_apply_each_migration_once(path, spawn):
    children = [spawn("migrate", path) for _ in range(4)]
    assert [await asyncio.to_thread(child.stdout.read) for child in children] == ["migrated\n"] * 4
    database = SqliteDatabase(path)
    await database.open()
    assert await database.fetch("select * from once") == [(1,)]
    await database.close()


async def test_databases_of_one_process_take_turns_too(opened):
    one, other = await opened(), await opened()
    tx = await one.begin()
    await tx.execute(INSERT, "one")
    waiting = asyncio.create_task(other.begin())
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await tx.commit()
    tx = await waiting
    assert await tx.fetch("select entry from ledger") == [("one",)]
    await tx.rollback()


async def test_a_writer_that_waited_too_long_is_told_and_may_try_again(path, spawn, opened):
    database = await opened(patience=timedelta(milliseconds=100))
    holder = spawn("hold", path)
    assert holder.stdout.readline() == "written\n"
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match="another process has been writing for more than"):
            await database.begin()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    await (await database.begin()).rollback()


async def test_a_task_that_waits_for_its_own_transaction_is_told_instead_of_waiting_for_ever(opened):
    database = await opened(patience=timedelta(milliseconds=100))
    tx = await database.begin()
    with pytest.raises(StoreUnavailableError, match="a transaction of this process has been open for more than"):
        await database.begin()
    await tx.execute(INSERT, "goes on")
    await tx.commit()
    assert await database.fetch("select entry from ledger") == [("goes on",)]


async def test_a_long_queue_is_no_reason_to_give_up(opened):
    database = await opened(patience=timedelta(milliseconds=200))

    async def write(number):
        async with database.transaction() as tx:
            await tx.execute(INSERT, str(number))
            await asyncio.sleep(0.015)

    await asyncio.gather(*map(write, range(30)))
    assert await database.fetch("select count(*) from ledger") == [(30,)]


async def test_a_writer_that_is_cancelled_while_another_process_writes_leaves_no_lock(path, opened):
    one, other = await opened(), await opened()
    tx = await one.begin()
    waiting = asyncio.create_task(other.begin())
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await tx.commit()
    for _ in range(3):  # the abandoned wait gets the lock first, and must give it back
        tx = await one.begin()
        await tx.execute(INSERT, "a")
        await tx.commit()


async def test_the_next_writer_takes_over_an_abandoned_wait(opened):
    one, other = await opened(), await opened()
    tx = await one.begin()
    waiting = asyncio.create_task(other.begin())
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.wait({waiting})
    waiting = asyncio.create_task(other.begin())
    await asyncio.sleep(0.05)
    await tx.commit()
    other_tx = await waiting
    blocked = asyncio.create_task(one.begin())
    await asyncio.sleep(0.05)
    assert not blocked.done()
    await other_tx.commit()
    await (await blocked).rollback()


async def test_a_database_can_be_closed_while_its_wait_goes_on(opened):
    one, other = await opened(), await opened()
    tx = await one.begin()
    waiting = asyncio.create_task(other.begin())
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.wait({waiting})
    await other.close()
    await tx.commit()
    await asyncio.sleep(0.05)
    await (await one.begin()).rollback()


async def test_a_foreign_program_is_waited_for_and_then_named_as_the_reason(path, opened):
    database = await opened(patience=timedelta(milliseconds=200))
    shell = sqlite3.connect(path, isolation_level=None)
    shell.execute("begin immediate")
    with pytest.raises(StoreUnavailableError, match="database is locked: another program holds the lock"):
        await database.begin()
    waiting = asyncio.create_task(database.begin())
    await asyncio.sleep(0.05)
    shell.execute("commit")
    await (await waiting).rollback()
    shell.close()


async def test_a_commit_elsewhere_is_noticed_and_read(opened):
    one, other = await opened(), await opened()
    before = other.data_version()
    async with one.transaction() as tx:
        await tx.execute(INSERT, "a")
    assert other.data_version() != before
    assert await other.fetch("select entry from ledger") == [("a",)]
