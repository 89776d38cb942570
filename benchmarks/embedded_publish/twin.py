"""By hand: encode a batch, give each an id and a place, `executemany`, one durable commit a batch."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import msgspec

from antiphon.events.ids import new_id
from benchmarks.data import orders
from benchmarks.hand_log import append, open_log, rest
from benchmarks.measure import report
from benchmarks.order import Order

COUNT, BATCH = 100_000, 1_000


def main() -> None:
    encode, envelope = msgspec.json.Encoder().encode, rest()
    events = [msgspec.json.decode(data, type=Order) for data in orders(COUNT)]
    with TemporaryDirectory() as folder:
        db = open_log(Path(folder) / "log.db")
        started = perf_counter()
        for start in range(0, COUNT, BATCH):
            batch = [
                (new_id(), "OrderPlaced", event.order_id, encode(event), envelope)
                for event in events[start : start + BATCH]
            ]
            db.execute("begin immediate")
            append(db, batch)
            db.execute("commit")
        seconds = perf_counter() - started
        (held,) = db.execute("select count(*) from messages").fetchone()
    report(COUNT, seconds, done=held)


if __name__ == "__main__":
    main()
