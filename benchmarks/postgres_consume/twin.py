"""By hand on psycopg: read a batch of a partition, decode, await the handler, move the cursor in a durable commit.

The log is the one that ours reads. The cursor of a batch moves in the round trip that reads the next one.
"""

from __future__ import annotations

import asyncio
import sys
from time import perf_counter
from typing import LiteralString

import msgspec
from psycopg import AsyncConnection, AsyncCursor

from benchmarks.measure import report
from benchmarks.order import Order

BATCH, OFFSETS = 1_000, 40
SCHEMA: LiteralString = """
create temporary table mine as select id from antiphon_log_partitions where topic_id =
    (select id from antiphon_log_topics where name = 'orders');
drop table if exists twin_cursors;
create table twin_cursors as select id as partition_id, id << 40 as place from mine
"""
READ: LiteralString = """
select place, type, data from antiphon_log_messages where place > %s and place < %s order by place limit %s
"""
MOVE: LiteralString = "update twin_cursors set place = %s where partition_id = %s"
LEFT: LiteralString = """
select count(*) from antiphon_log_messages m join twin_cursors c on m.place >> 40 = c.partition_id
where m.place > c.place
"""

Rows = list[tuple[int, str, bytes]]

decode = msgspec.json.Decoder(Order).decode
handled, began = 0, 0.0


async def handle(order: Order) -> None:
    global handled, began  # noqa: PLW0603  # the shortest counter there is
    handled += 1
    if handled == 1:
        began = perf_counter()


async def handle_all(rows: Rows) -> None:
    for _, type, data in rows:
        if type == "OrderPlaced":
            await handle(decode(data))


async def consume(db: AsyncConnection, partition: int) -> None:
    """Read a partition to its end."""
    reading, moving = AsyncCursor(db), AsyncCursor(db)
    place, end = partition << OFFSETS, partition + 1 << OFFSETS
    await reading.execute(READ, (place, end, BATCH), binary=True)
    while rows := await reading.fetchall():
        await handle_all(rows)
        place = rows[-1][0]
        async with db.pipeline():
            await moving.execute(MOVE, (place, partition))
            await reading.execute(READ, (place, end, BATCH), binary=True)


async def main(count: int, url: str) -> None:
    async with await AsyncConnection.connect(url, autocommit=True) as db:
        await db.execute(SCHEMA)
        partitions = await (await db.execute("select partition_id from twin_cursors")).fetchall()
        for (partition,) in partitions:
            await consume(db, partition)
        seconds = perf_counter() - began
        found = await (await db.execute(LEFT)).fetchone()
    report(count, seconds, done=handled - (found[0] if found else count))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
