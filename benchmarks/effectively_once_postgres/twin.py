"""By hand on psycopg, pipelined: marks and staged events in one statement a batch each; a relay runs beside it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, time, time_ns

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from antiphon.testing.servers import PostgresServer
from benchmarks.hand_log import CHECKPOINT, OFFSETS, PARTITIONS, READ, fill, open_log
from benchmarks.hand_outbox import SCHEMA, STAGE, PaymentAuthorised, relay, staged
from benchmarks.measure import report
from benchmarks.order import Order

COUNT, BATCH = 20_000, 500
MARK = """
insert into inbox (consumer, id, marked_at) select 1, id, %s from unnest(%s::text[]) as new(id)
on conflict do nothing returning id
"""

decode = msgspec.json.Decoder(Order).decode
LogRow = tuple[int, str, str, str, int, bytes, bytes]


async def authorise(order: Order, db: AsyncConnection[TupleRow]) -> PaymentAuthorised:
    pence = int(order.total * 100)
    await db.execute("insert into ledger (order_id, pence) values (%s, %s)", (order.order_id, pence))
    return PaymentAuthorised(order.order_id, pence)


async def handle_batch(db: AsyncConnection[TupleRow], rows: Sequence[LogRow]) -> None:
    orders = [decode(row[5]) for row in rows if row[2] == "OrderPlaced"]
    at = time_ns() // 1000
    async with db.pipeline(), db.transaction():
        marks = await db.execute(MARK, (int(time()), [row[1] for row in rows]))
        assert len(await marks.fetchall()) == len(rows), "the data has no duplicates"
        events = [staged(row[1], await authorise(order, db), at) for row, order in zip(rows, orders, strict=True)]
        keys, texts = [key for key, _ in events], [text for _, text in events]
        await db.execute(STAGE, (at, keys, texts))


async def consume(db: AsyncConnection[TupleRow], log: sqlite3.Connection) -> None:
    ends = [head for (head,) in log.execute("select head from partitions order by id")]
    for partition in range(PARTITIONS):
        place, end = partition << OFFSETS, partition << OFFSETS | ends[partition]
        while rows := log.execute(READ, (place, end, BATCH)).fetchall():
            await handle_batch(db, rows)
            place = rows[-1][0]
            log.execute(CHECKPOINT, (place, partition))


async def both(url: str, log: sqlite3.Connection) -> float:
    """Consume and relay side by side, each over its own connection; returns the seconds."""
    async with (
        await AsyncConnection.connect(url, autocommit=True) as db,
        await AsyncConnection.connect(url, autocommit=True) as other,
    ):
        await db.execute(SCHEMA)
        await db.execute("create table inbox (consumer bigint, id text, marked_at bigint, primary key (consumer, id))")
        await db.execute("create table ledger (order_id text not null, pence bigint not null)")
        started = perf_counter()
        async with asyncio.TaskGroup() as group:
            group.create_task(consume(db, log))
            group.create_task(relay(other, log, COUNT))
        return perf_counter() - started


def main() -> None:
    with TemporaryDirectory() as folder, PostgresServer(durable=True) as server:
        log = open_log(Path(folder) / "log.db")
        fill(log, COUNT)
        seconds = asyncio.run(both(server.url, log))
        (sent,) = log.execute("select count(*) from messages where type = 'PaymentAuthorised'").fetchone()
    report(COUNT, seconds, done=sent)


if __name__ == "__main__":
    main()
