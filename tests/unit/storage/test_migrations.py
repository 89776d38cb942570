"""Migrations are read from a folder, applied once and in order, and never changed afterwards."""

from importlib.resources import files
from pathlib import PurePosixPath

import pytest

from antiphon.errors import DeclarationError, MigrationError, StoreFullError, StoreVersionError
from antiphon.storage.database import Migration
from antiphon.storage.migrations import checksum, load_migrations, own_migrations

ONE = Migration(1, "make_ledger", "create table ledger (id integer); insert into ledger values (1);")
TWO = Migration(2, "add_entry", "alter table ledger add entry text default 'none';")
APPLIED = "select version, name from antiphon_migrations where component = 'shop' order by version"


class File:
    """A file of a folder that is only thought of."""

    def __init__(self, name, text):
        self.name, self.text = name, text

    def __str__(self):
        return str(PurePosixPath("migrations", self.name))

    def read_text(self, encoding):
        return self.text


class Folder:
    def __init__(self, **texts):
        self.files = [File(f"{name}.sql", text) for name, text in texts.items()] + [File("readme.md", "no SQL")]

    def __str__(self):
        return "migrations"

    def is_dir(self):
        return True

    def iterdir(self):
        return iter(self.files)


def folder(*names):
    return Folder(**{name: f"select '{name}';" for name in names})


def test_a_folder_holds_them_in_order_of_number():
    found = load_migrations(folder("0002_b", "0001_a", "0003_c"))
    assert [(migration.version, migration.name) for migration in found] == [(1, "a"), (2, "b"), (3, "c")]
    assert found[0].sql == "select '0001_a';"


def test_an_empty_folder_holds_none():
    assert list(load_migrations(folder())) == []


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["0001_a", "0003_c"], "migrations: migration 2 is missing before 3"),
        (["0002_b"], "migrations: migration 1 is missing before 2"),
        (["0001_a", "0002_b", "0002_c"], "migrations: two migrations have number 2"),
        (["0000_a"], "migrations: migrations count from 1, and one has number 0"),
        (["1_a"], "migrations/1_a.sql: a migration's file is named like 0001_make_ledger.sql"),
        (["0001-a"], "migrations/0001-a.sql: a migration's file is named like"),
        (["0001_A"], "migrations/0001_A.sql: a migration's file is named like"),
    ],
)
def test_gaps_duplicates_and_bad_names_are_refused(names, complaint):
    with pytest.raises(DeclarationError, match=complaint):
        load_migrations(folder(*names))


def test_an_empty_migration_is_refused():
    with pytest.raises(DeclarationError, match=r"0001_a\.sql: the migration is empty"):
        load_migrations(Folder(**{"0001_a": " \n"}))


def test_a_missing_folder_is_refused():
    with pytest.raises(DeclarationError, match="nowhere: there is no such folder"):
        load_migrations(files("antiphon.storage").joinpath("nowhere"))


def test_our_own_come_with_the_package():
    assert [migration.version for migration in own_migrations()] == list(range(1, len(own_migrations()) + 1))


def test_the_checksum_sees_words_not_line_endings():
    assert checksum(Migration(1, "a", "x;\r\ny;\r\n")) == checksum(Migration(1, "a", "x;\ny;"))
    assert checksum(Migration(1, "a", "x;\ny;")) != checksum(Migration(1, "a", "x;\nz;"))


async def test_each_is_applied_once(database):
    for migrations in ([ONE], [ONE, TWO], [ONE, TWO]):
        await database.migrate("shop", migrations)
    assert await database.fetch("select * from ledger") == [(1, "none")]
    assert await database.fetch(APPLIED) == [(1, "make_ledger"), (2, "add_entry")]


async def test_components_count_apart(database):
    await database.migrate("shop", [ONE])
    await database.migrate("other", [Migration(1, "make_other", "create table other (id)")])
    assert await database.fetch("select * from other") == []


async def test_applied_migrations_cost_no_commit(database):
    await database.migrate("shop", [ONE])
    before = database.counters.commits
    await database.migrate("shop", [ONE])
    assert database.counters.commits == before


async def test_a_failing_one_is_undone_whole_and_those_before_it_stay(database):
    wrong = Migration(2, "go_wrong", "create table half (id); insert into nowhere values (1);")
    with pytest.raises(MigrationError, match=r"migration 2 \(go_wrong\) of 'shop' failed and was undone: .*nowhere"):
        await database.migrate("shop", [ONE, wrong])
    assert await database.fetch(APPLIED) == [(1, "make_ledger")]
    assert await database.fetch("select name from sqlite_schema where name = 'half'") == []
    await database.migrate("shop", [ONE, TWO])


async def test_one_cannot_end_its_own_transaction(database):
    with pytest.raises(MigrationError, match="who began the transaction ends it"):
        await database.migrate("shop", [Migration(1, "sly", "create table sly (id); commit;")])
    assert await database.fetch("select name from sqlite_schema where name = 'sly'") == []


async def test_one_that_was_changed_after_it_ran_is_refused(database):
    await database.migrate("shop", [ONE])
    changed = Migration(1, "make_ledger", "create table ledger (id text)")
    with pytest.raises(MigrationError, match=r"migration 1 \(make_ledger\) of 'shop' was changed after it was applied"):
        await database.migrate("shop", [changed, TWO])
    assert await database.fetch(APPLIED) == [(1, "make_ledger")]


async def test_tables_of_a_newer_version_are_refused(database):
    await database.migrate("shop", [ONE, TWO])
    with pytest.raises(StoreVersionError, match=r"'shop' are at version 2, this software knows 1.*upgrade"):
        await database.migrate("shop", [ONE])


async def test_when_there_is_no_room_the_error_says_so(database):
    flood = "create table flood as with recursive n(i) as (select 1 union all select i + 1 from n where i < 9999)"
    async with database.transaction() as tx:
        await tx.execute("pragma max_page_count = 64")
    with pytest.raises(StoreFullError):
        await database.migrate("shop", [Migration(1, "flood", f"{flood} select i, hex(zeroblob(99)) from n;")])
    assert await database.fetch(APPLIED) == []
