"""By hand: one transaction a batch with the inbox marks, a savepoint a message, its row, its event, the checkpoint."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, time

import msgspec
from msgspec import Struct

from antiphon.events.ids import repeatable_id
from benchmarks.hand_log import CHECKPOINT, OFFSETS, PARTITIONS, READ, Row, append, fill, open_log, rest
from benchmarks.measure import report
from benchmarks.order import Order

COUNT, BATCH = 50_000, 500

decode = msgspec.json.Decoder(Order).decode
encode = msgspec.json.Encoder().encode


class PaymentAuthorised(Struct, frozen=True):
    order_id: str
    pence: int


async def authorise(order: Order, db: sqlite3.Connection) -> PaymentAuthorised:
    pence = int(order.total * 100)
    db.execute("insert into ledger (order_id, pence) values (?, ?)", (order.order_id, pence))
    return PaymentAuthorised(order.order_id, pence)


async def handle_batch(db: sqlite3.Connection, rows: list[tuple[int, str, str, str, int, bytes, bytes]]) -> None:
    orders = [decode(row[5]) for row in rows if row[2] == "OrderPlaced"]
    emitted: list[Row] = []
    db.execute("begin immediate")
    now = int(time())
    marks = db.executemany("insert or ignore into inbox values (1, ?, ?)", [(row[1], now) for row in rows])
    assert marks.rowcount == len(rows), "the data has no duplicates"
    for row, order in zip(rows, orders, strict=True):
        db.execute("savepoint part")
        event = await authorise(order, db)
        db.execute("release part")
        id = repeatable_id(row[1], "shop", "authorise", 0)
        envelope = rest(correlation=row[1], causation=row[1])
        emitted.append((id, "PaymentAuthorised", event.order_id, encode(event), envelope))
    append(db, emitted)
    db.execute(CHECKPOINT, (rows[-1][0], rows[-1][0] >> OFFSETS))
    db.execute("commit")


async def consume(db: sqlite3.Connection) -> None:
    ends = [head for (head,) in db.execute("select head from partitions order by id")]
    for partition in range(PARTITIONS):
        place, end = partition << OFFSETS, partition << OFFSETS | ends[partition]
        while rows := db.execute(READ, (place, end, BATCH)).fetchall():
            await handle_batch(db, rows)
            place = rows[-1][0]


def main() -> None:
    with TemporaryDirectory() as folder:
        db = open_log(Path(folder) / "log.db")
        fill(db, COUNT)
        started = perf_counter()
        asyncio.run(consume(db))
        seconds = perf_counter() - started
        (rows,) = db.execute("select count(*) from ledger").fetchone()
    report(COUNT, seconds, done=rows)


if __name__ == "__main__":
    main()
