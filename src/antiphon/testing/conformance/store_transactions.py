"""What every store promises of transactions: together or not at all, and what is undone is gone."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from antiphon.errors import ClosedError, ConstraintError, StatementError, StoreError, TransactionConflictError
from antiphon.storage.database import Database, OpenTransaction
from antiphon.testing.conformance.store_suite import ENTRIES, INSERT, Entry, StoreSuite, entries


class CommitConformance(StoreSuite):
    """What was committed is there, and nothing else."""

    async def test_what_was_committed_is_read_outside(self, database: Database) -> None:
        tx = await self.begun(database)
        await tx.execute(INSERT, 1, "a")
        await tx.execute_many(INSERT, [(2, "b"), (3, "c")])
        await tx.commit()
        assert await entries(database) == ["a", "b", "c"]

    async def test_what_is_not_committed_is_read_inside_only(self, database: Database) -> None:
        tx = await self.begun(database)
        await tx.execute(INSERT, 1, "a")
        assert await entries(tx) == ["a"]
        assert await entries(database) == []
        await tx.rollback()

    async def test_what_was_rolled_back_is_gone(self, database: Database) -> None:
        tx = await self.begun(database)
        await tx.execute(INSERT, 1, "a")
        await tx.rollback()
        await tx.rollback()
        assert await entries(database) == []

    async def test_an_exception_rolls_back(self, database: Database) -> None:
        await (await self.begun(database)).rollback()

        async def fail() -> None:
            async with database.transaction() as tx:
                await tx.execute(INSERT, 1, "a")
                raise KeyError

        with pytest.raises(KeyError):
            await fail()
        assert await entries(database) == []

    async def test_who_is_canceled_during_a_commit_knows_that_it_was_made(self, database: Database) -> None:
        tx = await self.begun(database)
        called: list[str] = []
        tx.after_commit(lambda: called.append("committed"))
        await tx.execute(INSERT, 1, "a")
        committing = asyncio.create_task(tx.commit())
        await asyncio.sleep(0)
        committing.cancel()
        await asyncio.wait({committing})
        assert await entries(database) == (["a"] if called else [])
        await (await database.begin()).rollback()

    async def test_a_failure_is_told_by_the_commit_at_the_latest(self, database: Database) -> None:
        tx = await self.begun(database)
        with pytest.raises(ConstraintError):
            await self._insert_twice_and_commit(tx)
        await tx.rollback()
        assert await entries(database) == []

    async def _insert_twice_and_commit(self, tx: OpenTransaction) -> None:
        await tx.execute(INSERT, 1, "a")
        await tx.execute(INSERT, 1, "b")
        await tx.commit()

    async def test_an_ended_transaction_takes_nothing_more(self, database: Database) -> None:
        tx = await self.begun(database)
        await tx.commit()
        await self._refuses_everything(tx)
        tx = await database.begin()
        await tx.rollback()
        await self._refuses_everything(tx)
        assert await entries(database) == []

    async def _refuses_everything(self, tx: OpenTransaction) -> None:
        for run in (
            lambda: tx.execute(INSERT, 1, "late"),
            lambda: tx.execute_many(INSERT, [(1, "late")]),
            lambda: tx.fetch(ENTRIES),
            tx.savepoint,
            tx.release,
            tx.undo,
            tx.commit,
        ):
            with pytest.raises(StoreError, match="is over"):
                await run()
        await tx.rollback()

    async def test_nothing_is_lost_between_writers_at_once(self, database: Database) -> None:
        tx = await self.begun(database)
        await tx.execute(INSERT, 0, "0")
        await tx.commit()

        async def add_one() -> None:
            while True:
                try:
                    async with database.transaction() as mine:
                        await mine.execute("update ledger set entry = cast(cast(entry as integer) + 1 as text)")
                        return
                except TransactionConflictError:
                    await asyncio.sleep(0)

        async with asyncio.timeout(self.patience.total_seconds()):
            await asyncio.gather(*(add_one() for _ in range(20)))
        assert await entries(database) == ["20"]

    async def test_who_is_canceled_while_waiting_takes_no_turn(self, database: Database) -> None:
        tx = await self.begun(database)
        waiting = [asyncio.create_task(database.begin()) for _ in range(30)]
        await asyncio.sleep(0.01)
        for each in waiting:
            each.cancel()
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            if not isinstance(outcome, BaseException):
                await outcome.rollback()
        await tx.commit()
        await (await database.begin()).rollback()


class PartConformance(StoreSuite):
    """A part is undone alone."""

    async def test_an_undone_part_leaves_the_rest(self, database: Database) -> None:
        tx = await self.begun(database)
        await tx.execute(INSERT, 1, "before")
        await tx.savepoint()
        await tx.execute(INSERT, 2, "undone")
        await tx.undo()
        await tx.savepoint()
        await tx.execute(INSERT, 3, "kept")
        await tx.release()
        await tx.commit()
        assert await entries(database) == ["before", "kept"]

    async def test_a_failure_in_a_part_is_told_by_its_release_at_the_latest_and_undone_with_it(
        self, database: Database
    ) -> None:
        tx = await self.begun(database)
        await tx.execute(INSERT, 1, "before")
        await tx.savepoint()
        await tx.execute(INSERT, 2, "undone")
        with pytest.raises(ConstraintError) as caught:
            await self._insert_again_and_release(tx)
        assert caught.value.__cause__ is not None
        await tx.undo()
        await tx.execute(INSERT, 3, "after")
        await tx.commit()
        assert await entries(database) == ["before", "after"]

    async def _insert_again_and_release(self, tx: OpenTransaction) -> None:
        await tx.execute(INSERT, 1, "twice")
        await tx.release()

    async def test_a_failure_that_nobody_heard_of_is_undone_with_its_part(self, database: Database) -> None:
        tx = await self.begun(database)
        await tx.savepoint()
        with suppress(StatementError):
            await tx.execute("insert into nowhere values (1)")
        await tx.undo()
        await tx.execute(INSERT, 1, "after")
        await tx.commit()
        assert await entries(database) == ["after"]

    async def test_parts_do_not_nest_and_none_ends_that_did_not_begin(self, database: Database) -> None:
        tx = await self.begun(database)
        for end in (tx.release, tx.undo):
            with pytest.raises(StoreError, match="no part"):
                await end()
        await tx.savepoint()
        with pytest.raises(StoreError, match="open already"):
            await tx.savepoint()
        await tx.release()
        await tx.rollback()


class CallbackConformance(StoreSuite):
    """Who wants to know of a commit is called after it, and never otherwise."""

    async def test_callbacks_run_in_order_once_it_is_committed(self, database: Database) -> None:
        tx = await self.begun(database)
        calls: list[object] = []
        tx.after_commit(lambda: calls.append("first"))
        tx.after_commit(lambda: calls.append(database.counters.commits))
        before = database.counters.commits
        await tx.execute(INSERT, 1, "a")
        assert calls == []
        await tx.commit()
        assert calls == ["first", before + 1]

    async def test_callbacks_do_not_run_on_rollback(self, database: Database) -> None:
        tx = await self.begun(database)
        calls: list[str] = []
        tx.after_commit(lambda: calls.append("never"))
        await tx.rollback()
        assert calls == []

    async def test_callbacks_of_an_undone_part_are_dropped(self, database: Database) -> None:
        tx = await self.begun(database)
        calls: list[str] = []
        tx.after_commit(lambda: calls.append("before"))
        await tx.savepoint()
        tx.after_commit(lambda: calls.append("undone"))
        await tx.undo()
        tx.after_commit(lambda: calls.append("after"))
        await tx.commit()
        assert calls == ["before", "after"]

    async def test_a_callback_that_fails_changes_nothing(self, database: Database) -> None:
        tx = await self.begun(database)
        called: list[str] = []
        await tx.execute(INSERT, 1, "a")
        tx.after_commit(lambda: called.remove("what is not there"))
        tx.after_commit(lambda: called.append("second"))
        await tx.commit()
        assert called == ["second"]
        assert await entries(database) == ["a"]


class OpeningConformance(StoreSuite):
    """What is closed says so, and leaves nothing half done."""

    async def test_a_closed_database_says_so(self, database: Database) -> None:
        await database.open()
        await database.close()
        await database.close()
        for run in (database.begin, lambda: database.fetch("select 1")):
            with pytest.raises(ClosedError):
                await run()
        await database.open()
        assert await database.fetch("select 1") == [(1,)]

    async def test_closing_rolls_back_what_runs(self, database: Database) -> None:
        tx = await self.begun(database)
        calls: list[str] = []
        tx.after_commit(lambda: calls.append("never"))
        await tx.execute(INSERT, 1, "a")
        await database.close()
        with pytest.raises(StoreError, match="is over"):
            await tx.execute(INSERT, 2, "late")
        with pytest.raises(StoreError, match="is over"):
            await tx.commit()
        await database.open()
        assert await entries(database) == []
        assert calls == []

    async def test_rows_come_as_what_was_asked_for_and_their_number_is_counted(self, database: Database) -> None:
        tx = await self.begun(database)
        before = database.counters.statements, database.counters.commits
        await tx.execute(INSERT, 1, "a")
        await tx.execute_many(INSERT, [(2, "b"), (3, "c")])
        await tx.commit()
        assert await database.fetch("select id, entry from ledger where id < ? order by id", 3, row=Entry) == [
            Entry(1, "a"),
            Entry(2, "b"),
        ]
        assert (database.counters.statements - before[0], database.counters.commits - before[1]) == (4, 1)
