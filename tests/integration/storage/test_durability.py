"""What was confirmed is kept, what was not is not seen, whatever ends the process or the task."""

import asyncio
import os
import random
import signal
from datetime import timedelta

import pytest

INSERT = "insert into ledger (writer, entry) values ('test', ?)"


async def rows(database):
    (count,) = await database.fetch("select count(*) from ledger", row=int)
    return count


async def test_every_commit_waits_for_the_disk(opened):
    database = await opened()
    for _ in range(2):
        async with database.transaction() as tx:
            assert await tx.fetch("pragma synchronous") == [(2,)]
            assert await tx.fetch("pragma journal_mode") == [("wal",)]
            assert await tx.fetch("pragma foreign_keys") == [(1,)]
        await database.close()
        await database.open()


async def test_a_batch_is_one_commit(opened):
    database = await opened()
    before = database.counters.commits
    async with database.transaction() as tx:
        for number in range(1000):
            await tx.savepoint()
            await tx.execute(INSERT, str(number))
            await tx.release()
    assert database.counters.commits - before == 1
    assert await rows(database) == 1000


async def test_the_event_loop_runs_on_while_a_commit_waits_for_the_disk(opened):
    database = await opened()
    turns = 0

    async def count_turns():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    tx = await database.begin()
    await tx.execute(INSERT, "a")
    before = turns
    await tx.commit()
    counting.cancel()
    assert turns > before


@pytest.mark.torture
@pytest.mark.parametrize("_round", range(5))
async def test_a_killed_process_keeps_what_it_confirmed_and_no_half_batches(path, spawn, opened, _round):
    child = spawn("append", path, 50)
    assert child.stdout.readline() == "1\n"
    await asyncio.sleep(random.uniform(0.01, 0.2))
    child.send_signal(signal.SIGKILL)
    confirmed = int((["1", *child.stdout.read().split()])[-1])
    found = await rows(await opened())
    # The last commit may have been durable just before it could be confirmed.
    assert found in (confirmed * 50, (confirmed + 1) * 50)


async def test_a_process_killed_before_its_commit_leaves_nothing_and_no_lock(path, spawn, opened):
    database = await opened()
    child = spawn("hold", path)
    assert child.stdout.readline() == "written\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    async with database.transaction() as tx:
        await tx.execute(INSERT, "after")
    assert await database.fetch("select writer from ledger") == [("test",)]


async def test_a_killed_process_leaves_no_lock_to_the_children_that_it_forked(path, spawn, opened):
    database = await opened(patience=timedelta(seconds=5))
    child = spawn("hold_and_fork", path)
    orphan = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    child.wait()
    try:
        async with database.transaction() as tx:
            await tx.execute(INSERT, "after")
    finally:
        os.kill(orphan, signal.SIGKILL)
    assert await database.fetch("select writer from ledger") == [("test",)]


@pytest.mark.parametrize("turns", range(4))
async def test_a_cancelled_commit_ends_with_a_known_outcome(opened, turns):
    database = await opened()
    tx = await database.begin()
    await tx.execute(INSERT, "a")
    called = []
    tx.after_commit(lambda: called.append(True))
    committing = asyncio.create_task(tx.commit())
    for _ in range(turns):
        await asyncio.sleep(0)
    committing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await committing
    await tx.rollback()
    async with database.transaction():
        pass
    assert await rows(database) == len(called) == (turns > 0)


async def test_cancelling_a_commit_again_and_again_changes_nothing(opened):
    database = await opened()
    tx = await database.begin()
    await tx.execute(INSERT, "a")
    committing = asyncio.create_task(tx.commit())
    while not committing.done():
        await asyncio.sleep(0)
        committing.cancel()
    assert committing.cancelled()
    assert await rows(database) == 1
    await (await database.begin()).rollback()


async def test_who_rolls_back_during_a_commit_waits_for_its_end(opened):
    database = await opened()
    tx = await database.begin()
    await tx.execute(INSERT, "a")
    committing = asyncio.create_task(tx.commit())
    await asyncio.sleep(0)
    rolling_back = asyncio.create_task(tx.rollback())
    await asyncio.sleep(0)
    committing.cancel()
    await rolling_back
    assert committing.done()
    assert await rows(database) == 1
    await (await database.begin()).rollback()


async def test_closing_waits_for_a_running_commit(opened):
    database = await opened()
    tx = await database.begin()
    await tx.execute(INSERT, "a")
    committing = asyncio.create_task(tx.commit())
    await asyncio.sleep(0)
    await database.close()
    await committing
    assert await rows(await opened()) == 1
