"""A migration that is interrupted has changed nothing, and can be run again."""

import asyncio
import time

from antiphon.storage.database import Migration
from antiphon.storage.sqlite import SqliteDatabase

FIRST = Migration(1, "make_stock", "create table stock (id integer)")


async def missing(path, *migrations):
    database = SqliteDatabase(path)
    await database.open()
    try:
        found = list(await database.missing("shop", migrations))
        tables = await database.fetch("select name from sqlite_schema where name in ('stock', 'more')", row=str)
        return found, tables
    finally:
        await database.close()


def test_a_process_that_is_killed_while_it_migrates_leaves_what_was_there_before(path, spawn):
    child = spawn("migrate_for_ever", path)
    assert child.stdout.readline() == "migrating\n"
    time.sleep(0.3)
    child.kill()
    child.wait()
    second = Migration(2, "make_more", "create table more (id integer)")
    assert asyncio.run(missing(path, FIRST, second)) == ([second], ["stock"])
    asyncio.run(migrate(path, FIRST, second))
    assert asyncio.run(missing(path, FIRST, second)) == ([], ["stock", "more"])


async def migrate(path, *migrations):
    database = SqliteDatabase(path)
    await database.open()
    await database.migrate("shop", migrations)
    await database.close()
