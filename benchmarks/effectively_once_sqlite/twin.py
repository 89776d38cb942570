"""By hand: per batch the inbox marks, a savepoint, a row and a staged event each; then a relay moves those."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, time, time_ns

import msgspec

from benchmarks.hand_log import CHECKPOINT, OFFSETS, PARTITIONS, READ, append, fill, open_log
from benchmarks.hand_outbox import PaymentAuthorised, row_of, staged
from benchmarks.measure import report
from benchmarks.order import Order

COUNT, BATCH, RELAYED = 50_000, 500, 1_000
SCHEMA = """
pragma journal_mode = wal; pragma synchronous = full;
create table inbox (consumer integer, id text, marked_at integer, primary key (consumer, id)) without rowid;
create table ledger (order_id text not null, pence integer not null) strict;
create table outbox (
    number integer primary key autoincrement, topic text not null, key text, message text not null,
    staged_at integer not null
);
"""
STAGE = "insert into outbox (topic, key, message, staged_at) values ('payments', ?, ?, ?)"

decode = msgspec.json.Decoder(Order).decode
LogRow = tuple[int, str, str, str, int, bytes, bytes]


async def authorise(order: Order, db: sqlite3.Connection) -> PaymentAuthorised:
    pence = int(order.total * 100)
    db.execute("insert into ledger (order_id, pence) values (?, ?)", (order.order_id, pence))
    return PaymentAuthorised(order.order_id, pence)


async def handle_batch(db: sqlite3.Connection, rows: list[LogRow]) -> None:
    orders = [decode(row[5]) for row in rows if row[2] == "OrderPlaced"]
    emitted: list[tuple[str, str, int]] = []
    db.execute("begin immediate")
    now, at = int(time()), time_ns() // 1000
    marks = db.executemany("insert or ignore into inbox values (1, ?, ?)", [(row[1], now) for row in rows])
    assert marks.rowcount == len(rows), "the data has no duplicates"
    for row, order in zip(rows, orders, strict=True):
        db.execute("savepoint part")
        event = await authorise(order, db)
        db.execute("release part")
        emitted.append((*staged(row[1], event, at), at))
    db.executemany(STAGE, emitted)
    db.execute("commit")


def relay(db: sqlite3.Connection, log: sqlite3.Connection) -> None:
    """Move what is staged into the log, until nothing is left."""
    while rows := db.execute("select number, message from outbox order by number limit ?", (RELAYED,)).fetchall():
        log.execute("begin immediate")
        append(log, [row_of(text) for _, text in rows])
        log.execute("commit")
        db.execute("begin immediate")
        db.executemany("delete from outbox where number = ?", [(number,) for number, _ in rows])
        db.execute("commit")


async def consume(db: sqlite3.Connection, log: sqlite3.Connection) -> None:
    ends = [head for (head,) in log.execute("select head from partitions order by id")]
    for partition in range(PARTITIONS):
        place, end = partition << OFFSETS, partition << OFFSETS | ends[partition]
        while rows := log.execute(READ, (place, end, BATCH)).fetchall():
            await handle_batch(db, rows)
            place = rows[-1][0]
            log.execute(CHECKPOINT, (place, partition))
            relay(db, log)


def main() -> None:
    with TemporaryDirectory() as folder:
        log = open_log(Path(folder) / "log.db")
        fill(log, COUNT)
        db = sqlite3.connect(Path(folder) / "shop.db", isolation_level=None)
        db.executescript(SCHEMA)
        started = perf_counter()
        asyncio.run(consume(db, log))
        seconds = perf_counter() - started
        (sent,) = log.execute("select count(*) from messages where type = 'PaymentAuthorised'").fetchone()
        (left,) = db.execute("select count(*) from outbox").fetchone()
    report(COUNT, seconds, done=sent - left)


if __name__ == "__main__":
    main()
