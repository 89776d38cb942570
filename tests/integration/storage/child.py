"""What the tests of this folder run in processes of their own: `python child.py WORK PATH ...`."""

import asyncio
import json
import os
import resource
import signal
import sys
import time
from datetime import timedelta

from antiphon.errors import AntiphonError
from antiphon.storage.database import Migration
from antiphon.storage.migrations import own_migrations
from antiphon.storage.sqlite import SqliteDatabase

LEDGER = [Migration(1, "make_ledger", "create table ledger (id integer primary key, writer text, entry text)")]
INSERT = "insert into ledger (writer, entry) values (?, ?)"
ENTRY = "x" * 200


def say(*words):
    print(*words, flush=True)


async def opened(path, **options):
    database = SqliteDatabase(path, **options)
    await database.open()
    await database.migrate("ledger", LEDGER)
    return database


async def append(path, batch):
    """Write batches until killed; say how many are confirmed."""
    database = await opened(path)
    confirmed = 0
    while True:
        async with database.transaction() as tx:
            await tx.execute_many(INSERT, [("append", ENTRY)] * int(batch))
        confirmed += 1
        say(confirmed)


async def hold(path):
    """Write, and never commit."""
    database = await opened(path)
    tx = await database.begin()
    await tx.execute(INSERT, "hold", ENTRY)
    say("written")
    await asyncio.sleep(3600)


async def hold_and_fork(path):
    """As `hold`, with a child that outlives it, as those of a pool of processes do."""
    database = await opened(path)
    tx = await database.begin()
    await tx.execute(INSERT, "hold", ENTRY)
    child = os.fork()
    if not child:
        os.close(1)
        signal.pause()
    say(child)
    await asyncio.sleep(3600)


async def migrate(path):
    """Apply one migration that fails when it runs twice."""
    database = SqliteDatabase(path)
    await database.open()
    more = "create table once (id integer); insert into once values (1);"
    await database.migrate("ledger", [*LEDGER, Migration(2, "once", more)])
    await database.close()
    say("migrated")


async def contend(path, name, seconds):
    """Write one short transaction after another; say how many there were and the longest wait for a turn."""
    database = await opened(path)
    say("ready")
    sys.stdin.readline()
    waits = []
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        began = time.perf_counter()
        tx = await database.begin()
        waits.append(time.perf_counter() - began)
        await tx.execute_many(INSERT, [(name, ENTRY)] * 50)
        await tx.commit()
    await database.close()
    say(json.dumps({"name": name, "transactions": len(waits), "longest_ms": max(waits) * 1000}))


async def fill(path, limit):
    """Write until a file may grow no more; then get room and go on."""
    database = await opened(path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
    confirmed = 0
    try:
        while True:
            async with database.transaction() as tx:
                await tx.execute_many(INSERT, [("fill", ENTRY)] * 100)
            confirmed += 100
    except AntiphonError as error:
        say(json.dumps({"error": type(error).__name__, "text": str(error)}))
    (kept,) = await database.fetch("select count(*) from ledger", row=int)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    async with database.transaction() as tx:
        await tx.execute(INSERT, "fill", "after")
    (after,) = await database.fetch("select count(*) from ledger", row=int)
    await database.close()
    say(json.dumps({"confirmed": confirmed, "kept": kept, "after": after}))


async def open_as(path, user):
    """Open without the rights of root; say which error that gives."""
    own_migrations()  # read before the package's files may be out of reach
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(int(user))
        os.setuid(int(user))
    try:
        database = SqliteDatabase(path, patience=timedelta(seconds=1))
        await database.open()
    except AntiphonError as error:
        say(json.dumps({"error": type(error).__name__, "text": str(error)}))
    else:
        await database.close()
        say(json.dumps({"error": None, "text": ""}))


async def migrate_for_ever(path):
    """Apply one migration, and go round in circles in the middle of the next one."""
    database = SqliteDatabase(path)
    await database.open()
    first = Migration(1, "make_stock", "create table stock (id integer)")
    await database.migrate("shop", [first])
    say("migrating")
    count = "with recursive n(i) as (select 1 union all select i + 1 from n) insert into more select count(*) from n;"
    await database.migrate("shop", [first, Migration(2, "make_more", f"create table more (id integer); {count}")])


WORKS = {
    work.__name__: work for work in (append, hold, hold_and_fork, migrate, migrate_for_ever, contend, fill, open_as)
}

if __name__ == "__main__":
    asyncio.run(WORKS[sys.argv[1]](*sys.argv[2:]))
