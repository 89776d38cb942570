"""What is kept for the commit is written by it, and never without it."""

import pytest

from antiphon.errors import StatementError, StoreError

ENTRY = "insert into ledger (entry) values (?)"


async def write(tx, entries):
    await tx.execute_many(ENTRY, [(entry,) for entry in entries])


async def written(database):
    return await database.fetch("select entry from ledger order by id", row=str)


async def test_it_comes_last_and_costs_no_round_trip(database, tx):
    tx.before_commit(write, "last")
    await tx.execute(ENTRY, "first")
    before = database.counters.round_trips
    await tx.commit()
    assert database.counters.round_trips - before == 1
    assert await written(database) == ["first", "last"]


async def test_it_is_not_written_by_a_rollback(database, tx):
    tx.before_commit(write, "never")
    await tx.rollback()
    assert await written(database) == []


async def test_an_undone_part_takes_its_own_with_it_and_keeps_what_came_before(database, tx):
    tx.before_commit(write, "before")
    await tx.savepoint()
    tx.before_commit(write, "undone")
    await tx.undo()
    await tx.savepoint()
    tx.before_commit(write, "kept")
    await tx.release()
    await tx.commit()
    assert await written(database) == ["before", "kept"]


async def test_what_it_raises_the_commit_raises_and_nothing_is_written(database, tx):
    async def refuse(tx, items):
        raise StoreError("no room")

    await tx.execute(ENTRY, "first")
    tx.before_commit(refuse, None)
    with pytest.raises(StoreError, match="no room"):
        await tx.commit()
    assert await written(database) == []
    with pytest.raises(StoreError, match="is over"):
        await tx.execute(ENTRY, "after")


async def test_what_the_server_refuses_of_it_the_commit_raises(database, tx):
    async def misspell(tx, items):
        await tx.execute("insert into legder values (1)")

    await tx.execute(ENTRY, "first")
    tx.before_commit(misspell, None)
    with pytest.raises(StatementError, match="legder"):
        await tx.commit()
    assert await written(database) == []
