"""By hand: read parked rows, append their messages to the log, delete them, many to a commit; then handle them."""

from __future__ import annotations

import asyncio
import sqlite3
from base64 import b64decode, b64encode
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import msgspec

from antiphon.events.ids import new_id
from benchmarks.data import order_json
from benchmarks.hand_log import CHECKPOINT, OFFSETS, PARTITIONS, READ, append, open_log, rest
from benchmarks.measure import report
from benchmarks.order import Order

COUNT, BATCH = 50_000, 500
PARKED = """
create table parked (
    number integer primary key, id text not null, message text not null, attempts text not null
) strict;
"""

decode = msgspec.json.Decoder(Order).decode
handled = 0


async def handle(order: Order) -> None:
    global handled  # noqa: PLW0603  # the shortest counter there is
    handled += 1


def fill(db: sqlite3.Connection, count: int) -> None:
    """Put letters there; preparation, not measured."""
    db.executescript(PARKED)
    rows: list[tuple[str, str, str]] = []
    for number in range(count):
        envelope = {"key": f"order-{number}", "data": b64encode(order_json(number)).decode()}
        rows.append((new_id(), msgspec.json.encode(envelope).decode(), '[{"error":"ValueError"}]'))
    db.execute("begin immediate")
    db.executemany("insert into parked (id, message, attempts) values (?, ?, ?)", rows)
    db.execute("commit")


def move(db: sqlite3.Connection) -> None:
    envelope = rest()
    while rows := db.execute("select number, id, message from parked order by number limit ?", (BATCH,)).fetchall():
        db.execute("begin immediate")
        messages = [(id, msgspec.json.decode(message)) for _, id, message in rows]
        append(db, [(id, "OrderPlaced", each["key"], b64decode(each["data"]), envelope) for id, each in messages])
        db.execute("delete from parked where number <= ?", (rows[-1][0],))
        db.execute("commit")


async def consume(db: sqlite3.Connection) -> None:
    ends = [head for (head,) in db.execute("select head from partitions order by id")]
    for partition in range(PARTITIONS):
        place, end = partition << OFFSETS, partition << OFFSETS | ends[partition]
        while rows := db.execute(READ, (place, end, BATCH)).fetchall():
            for row in rows:
                await handle(decode(row[5]))
            place = rows[-1][0]
            db.execute(CHECKPOINT, (place, partition))


def main() -> None:
    with TemporaryDirectory() as folder:
        db = open_log(Path(folder) / "log.db")
        fill(db, COUNT)
        started = perf_counter()
        move(db)
        asyncio.run(consume(db))
        seconds = perf_counter() - started
        (left,) = db.execute("select count(*) from parked").fetchone()
    report(COUNT, seconds, done=handled - left)


if __name__ == "__main__":
    main()
