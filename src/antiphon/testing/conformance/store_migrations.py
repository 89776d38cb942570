"""What every store promises of migrations: each once, in order, whole or not at all."""

from __future__ import annotations

import asyncio

import pytest

from antiphon.errors import MigrationError, StoreError, StoreVersionError
from antiphon.storage.database import Database, Migration
from antiphon.testing.conformance.store_suite import StoreSuite

ONE = Migration(1, "make_stock", "create table stock (id integer); insert into stock values (1);")
TWO = Migration(2, "add_word", "alter table stock add word text default 'none; really'; -- done;")
WRONG = Migration(2, "go_wrong", "create table half (id integer); insert into nowhere values (1);")
APPLIED = "select version, name from antiphon_migrations where component = 'shop' order by version"


class MigrationConformance(StoreSuite):
    """How tables come to be, and how they change."""

    async def test_each_is_applied_once(self, database: Database) -> None:
        for migrations in ([ONE], [ONE, TWO], [ONE, TWO]):
            await database.migrate("shop", migrations)
        assert await database.fetch("select * from stock") == [(1, "none; really")]
        assert await database.fetch(APPLIED) == [(1, "make_stock"), (2, "add_word")]

    async def test_applied_ones_cost_no_commit(self, database: Database) -> None:
        await database.migrate("shop", [ONE])
        before = database.counters.commits
        await database.migrate("shop", [ONE])
        assert database.counters.commits == before

    async def test_what_is_missing_is_told_and_not_applied(self, database: Database) -> None:
        await database.migrate("shop", [ONE])
        assert list(await database.missing("shop", [ONE, TWO])) == [TWO]
        assert list(await database.missing("other", [ONE])) == [ONE]
        await database.close()
        assert list(await database.missing("shop", [ONE, TWO])) == [TWO]
        assert list(await database.missing("shop", [ONE])) == []

    async def test_a_failing_one_is_undone_whole_and_those_before_it_stay(self, database: Database) -> None:
        with pytest.raises(
            MigrationError, match=r"migration 2 \(go_wrong\) of 'shop' failed and was undone: .*nowhere"
        ):
            await database.migrate("shop", [ONE, WRONG])
        assert await database.fetch(APPLIED) == [(1, "make_stock")]
        with pytest.raises(StoreError):
            await database.fetch("select * from half")
        await database.migrate("shop", [ONE, TWO])

    async def test_one_cannot_end_its_own_transaction(self, database: Database) -> None:
        with pytest.raises(MigrationError, match="who began the transaction ends it"):
            await database.migrate("shop", [Migration(1, "sly", "create table sly (id integer); commit;")])
        with pytest.raises(StoreError):
            await database.fetch("select * from sly")

    async def test_one_that_was_changed_after_it_ran_is_refused(self, database: Database) -> None:
        await database.migrate("shop", [ONE])
        changed = Migration(1, "make_stock", "create table stock (id text)")
        for run in (database.migrate, database.missing):
            with pytest.raises(MigrationError, match=r"migration 1 \(make_stock\) of 'shop' was changed after"):
                await run("shop", [changed, TWO])
        assert await database.fetch(APPLIED) == [(1, "make_stock")]

    async def test_tables_of_a_newer_version_are_refused(self, database: Database) -> None:
        await database.migrate("shop", [ONE, TWO])
        for run in (database.migrate, database.missing):
            with pytest.raises(StoreVersionError, match=r"'shop' are at version 2, this software knows 1.*upgrade"):
                await run("shop", [ONE])

    async def test_many_at_once_apply_each_once(self, database: Database) -> None:
        others = [self.beside(database) for _ in range(4)]
        try:
            async with asyncio.timeout(self.patience.total_seconds()):
                await asyncio.gather(*(other.open() for other in others))
                await asyncio.gather(*(other.migrate("shop", [ONE, TWO]) for other in (database, *others)))
            assert await database.fetch("select * from stock") == [(1, "none; really")]
        finally:
            for other in others:
                await other.close()
