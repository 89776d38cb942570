"""By hand: read a batch of a partition, decode, await the handler, move the checkpoint in a durable commit."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import msgspec

from benchmarks.hand_log import CHECKPOINT, OFFSETS, PARTITIONS, READ, fill, open_log
from benchmarks.measure import report
from benchmarks.order import Order

COUNT, BATCH = 200_000, 1_000

decode = msgspec.json.Decoder(Order).decode
handled = 0


async def handle(order: Order) -> None:
    global handled  # noqa: PLW0603  # the shortest counter there is
    handled += 1


async def consume(db: sqlite3.Connection) -> None:
    for partition in range(PARTITIONS):
        place, end = partition << OFFSETS, (partition + 1 << OFFSETS) - 1
        while rows := db.execute(READ, (place, end, BATCH)).fetchall():
            for row in rows:
                if row[2] == "OrderPlaced":
                    await handle(decode(row[5]))
            place = rows[-1][0]
            db.execute("begin immediate")
            db.execute(CHECKPOINT, (place, partition))
            db.execute("commit")


def main() -> None:
    with TemporaryDirectory() as folder:
        db = open_log(Path(folder) / "log.db")
        fill(db, COUNT)
        started = perf_counter()
        asyncio.run(consume(db))
        seconds = perf_counter() - started
    report(COUNT, seconds, done=handled)


if __name__ == "__main__":
    main()
