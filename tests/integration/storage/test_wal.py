"""The write-ahead log stays bounded although readers never pause, and a reader that never ends holds up nobody."""

import contextlib
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from antiphon.storage.sqlite.wal import WalBound

INSERT = "insert into ledger (writer, entry) values ('test', ?)"
ENTRY = "x" * 1000
MEGABYTE = 1_000_000


def read_without_pause(path, over):
    """Two readers whose snapshots overlap, so that somebody reads at every moment."""
    readers = [sqlite3.connect(path, isolation_level=None, timeout=5) for _ in range(2)]
    turn = 0
    while not over.is_set():
        if readers[turn].in_transaction:
            readers[turn].execute("commit")
        readers[turn].execute("begin")
        readers[turn].execute("select count(*) from sqlite_schema").fetchone()
        time.sleep(0.005)
        turn = 1 - turn
    for reader in readers:
        reader.close()


@contextlib.contextmanager
def constant_readers(path):
    over = threading.Event()
    thread = threading.Thread(target=read_without_pause, args=(path, over))
    thread.start()
    yield
    over.set()
    thread.join()


async def longest_log(database, path, batches=60):
    """The log's greatest size while some 200 kB are written in each batch."""
    log = Path(f"{path}-wal")
    longest = 0
    for _ in range(batches):
        async with database.transaction() as tx:
            await tx.execute_many(INSERT, [(ENTRY,)] * 200)
        longest = max(longest, log.stat().st_size)  # noqa: ASYNC240 - a test may wait for that
    return longest


async def test_constant_readers_let_the_log_grow_no_further_than_its_bound(path, opened):
    database = await opened(wal_limit=2 * MEGABYTE)
    with constant_readers(path):
        assert await longest_log(database, path) < 3 * MEGABYTE
    assert await database.fetch("select count(*) from ledger") == [(60 * 200,)]


async def test_without_a_bound_they_let_it_grow_for_ever(path, opened):
    database = await opened(wal_limit=1000 * MEGABYTE)
    with constant_readers(path):
        assert await longest_log(database, path) > 6 * MEGABYTE


async def test_a_reader_that_never_ends_holds_up_nobody_and_the_log_is_cut_once_it_does(path, opened):
    database = await opened(wal_limit=MEGABYTE)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("begin")
    reader.execute("select count(*) from ledger").fetchone()
    began = time.monotonic()
    assert await longest_log(database, path) > 10 * MEGABYTE
    # An attempt to cut it waits 100 ms for readers, and is made once a quarter of the bound is added.
    assert time.monotonic() - began < 12
    reader.close()
    async with database.transaction() as tx:
        await tx.execute_many(INSERT, [(ENTRY,)] * 300)
    assert await longest_log(database, path) < 2 * MEGABYTE


@pytest.mark.parametrize("size", [None, 0, 99])
def test_a_short_log_or_none_costs_no_checkpoint(tmp_path, size):
    log = tmp_path / "log"
    if size is not None:
        log.write_bytes(b"x" * size)
    called = []
    WalBound(100).apply(str(log), lambda: called.append(True) or True)
    assert called == []
