"""A file that cannot serve is refused with the reason and the cure; nothing is lost, and it goes on where it can."""

import json
import os
import sqlite3
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest

from antiphon.errors import (
    StoreCorruptError,
    StoreError,
    StoreFullError,
    StoreReadOnlyError,
    StoreUnavailableError,
    StoreVersionError,
)
from antiphon.storage.database import Migration
from antiphon.storage.migrations import own_migrations
from antiphon.storage.sqlite import SqliteDatabase

NOBODY = 65534
INSERT = "insert into ledger (writer, entry) values ('test', ?)"
ENTRY = "x" * 1000


async def refusal(path):
    with pytest.raises(StoreError) as caught:
        await SqliteDatabase(path).open()
    assert str(path) in str(caught.value)
    return caught.value


async def test_the_folder_is_made(tmp_path):
    path = tmp_path / "new" / "folder" / "log.db"
    database = SqliteDatabase(path)
    await database.open()
    await database.close()
    assert path.exists()


async def test_a_text_file_is_no_database(path):
    path.write_text("InvoiceNo,InvoiceDate\n" * 100)
    error = await refusal(path)
    assert type(error) is StoreCorruptError
    assert "not a SQLite database; name another path" in str(error)
    assert path.read_text().startswith("InvoiceNo")


async def test_a_truncated_database_is_told(path, opened):
    database = await opened()
    async with database.transaction() as tx:
        await tx.execute_many(INSERT, [(ENTRY,)] * 100)
    await database.close()
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    error = await refusal(path)
    assert type(error) is StoreCorruptError
    assert "damaged; restore a copy" in str(error)


async def test_a_damaged_page_is_told_when_it_is_read(path, opened):
    database = await opened()
    async with database.transaction() as tx:
        await tx.execute_many(INSERT, [(ENTRY,)] * 1_000)
    await database.close()
    (size,) = sqlite3.connect(path).execute("pragma page_size").fetchone()
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // size // 2 * size)
        file.write(os.urandom(path.stat().st_size // 3))
    database = await opened()
    with pytest.raises(StoreCorruptError, match="damaged"):
        await database.fetch("select sum(length(entry)) from ledger")


async def test_another_programs_file_is_refused_and_left_alone(path):
    with sqlite3.connect(path) as other:
        other.execute("pragma application_id = 252006674")
        other.execute("create table tracks (id)")
    other.close()
    assert "belongs to another program" in str(await refusal(path))
    other = sqlite3.connect(path)
    assert other.execute("select name from sqlite_schema").fetchall() == [("tracks",)]
    other.close()


async def test_a_file_with_other_tables_is_shared(path):
    other = sqlite3.connect(path)
    other.execute("create table customers (id)")
    database = SqliteDatabase(path)
    await database.open()
    async with database.transaction() as tx:
        await tx.execute("insert into customers values (1)")
    assert other.execute("select id from customers").fetchall() == [(1,)]
    assert other.execute("pragma application_id").fetchone() == (0,)
    await database.close()
    other.close()


async def test_a_file_of_a_newer_version_is_refused(path, opened):
    database = await opened()
    known = own_migrations()
    await database.migrate("antiphon", [*known, Migration(len(known) + 1, "new", "select 1")])
    await database.close()
    error = await refusal(path)
    assert type(error) is StoreVersionError
    assert "written by a newer version; upgrade this process" in str(error)


@pytest.mark.parametrize("replaced", [True, False])
async def test_a_file_that_was_moved_while_it_was_open_takes_no_more(path, opened, replaced):
    database = await opened()
    path.rename(path.with_name("moved.db"))
    if replaced:
        path.write_bytes(b"")
    with pytest.raises(StoreError, match="was moved, deleted or replaced while it was open: put it back"):
        await database.begin()
    path.with_name("moved.db").rename(path)
    async with database.transaction() as tx:
        await tx.execute(INSERT, ENTRY)
    assert await database.fetch("select count(*) from ledger") == [(1,)]


async def test_every_name_of_a_file_takes_turns_at_one_lock(path, opened):
    database = await opened()
    other_name = path.with_name("link.db")
    other_name.symlink_to(path)
    other = SqliteDatabase(other_name, patience=timedelta(milliseconds=50))
    await other.open()
    tx = await database.begin()
    with pytest.raises(StoreUnavailableError, match="another process has been writing"):
        await other.begin()
    await tx.commit()
    await other.close()


async def test_a_file_in_place_of_the_folder_is_told(path):
    path.parent.joinpath("file").write_text("")
    error = await refusal(path.parent / "file" / "log.db")
    assert type(error) is StoreReadOnlyError


async def test_a_folder_in_place_of_the_file_is_told(path):
    path.mkdir()
    assert type(await refusal(path)) is StoreReadOnlyError


@pytest.mark.parametrize("existing", [True, False], ids=["existing file", "new file"])
async def test_a_folder_that_cannot_be_written_is_told(path, spawn, existing):
    if existing:
        await make(path)
    path.parent.chmod(0o555)
    report = await open_as_nobody(path, spawn)
    path.parent.chmod(0o755)
    assert report["error"] == "StoreReadOnlyError", report
    assert str(path) in report["text"]


async def test_a_file_that_cannot_be_written_is_told(path, spawn):
    await make(path)
    path.parent.chmod(0o777)
    for name in ("log.db.lock", "log.db.next"):
        path.with_name(name).chmod(0o666)
    path.chmod(0o444)
    report = await open_as_nobody(path, spawn)
    assert report["error"] == "StoreReadOnlyError", report
    assert "make the file and its folder writable" in report["text"]


async def make(path):
    database = SqliteDatabase(path)
    await database.open()
    await database.close()


@pytest.fixture
def path():
    """In a folder whose parents everybody may enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder, "log.db")


async def open_as_nobody(path, spawn):
    return json.loads(spawn("open_as", path, NOBODY).stdout.readline())


async def test_a_full_file_is_told_and_goes_on_when_there_is_room(opened):
    database = await opened()
    tx = await database.begin()
    (pages,) = await tx.fetch_one("pragma page_count")
    await tx.fetch(f"pragma max_page_count = {pages + 20}")
    await tx.commit()
    confirmed = 0

    async def write_ten():
        nonlocal confirmed
        async with database.transaction() as tx:
            for _ in range(10):
                await tx.execute(INSERT, ENTRY)
        confirmed += 10

    async def write_much():
        for _ in range(20):
            await write_ten()

    with pytest.raises(StoreFullError, match="there is no room left; free some, and it goes on"):
        await write_much()
    assert 0 < confirmed < 200
    assert await database.fetch("select count(*) from ledger") == [(confirmed,)]
    async with database.transaction() as tx:
        await tx.fetch("pragma max_page_count = 1000000")
    await write_ten()
    assert await database.fetch("select count(*) from ledger") == [(confirmed,)]


async def test_after_the_file_was_full_the_transaction_is_over(opened):
    database = await opened()
    tx = await database.begin()
    await tx.fetch("pragma max_page_count = 1")
    await tx.savepoint()
    flood = "insert into ledger (entry) with recursive n(i) as (select 1 union all select i + 1 from n where i < 9999)"
    with pytest.raises(StoreFullError):
        await tx.execute(f"{flood} select hex(zeroblob(200)) from n")
    for run in (lambda: tx.execute(INSERT, "late"), tx.release, tx.undo, tx.commit):
        with pytest.raises(StoreFullError, match="was undone, since a statement failed"):
            await run()
    await tx.rollback()
    assert await database.fetch("select count(*) from ledger") == [(0,)]


async def test_a_limit_on_the_size_of_files_is_a_full_disk_that_loses_nothing_confirmed(path, spawn, opened):
    child = spawn("fill", path, 400_000)
    failure, outcome = (json.loads(line) for line in child.communicate()[0].splitlines())
    assert failure["error"] == "StoreFullError"
    assert outcome["kept"] == outcome["confirmed"] > 0
    assert outcome["after"] == outcome["confirmed"] + 1
    assert await (await opened()).fetch("select count(*) from ledger") == [(outcome["after"],)]
