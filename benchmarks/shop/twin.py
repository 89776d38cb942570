"""By hand: six bare processes on one file, each a loop of read, mark, handle, append, checkpoint, commit."""

from __future__ import annotations

import fcntl
import sqlite3
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, sleep, time

from antiphon.events.ids import new_id, repeatable_id
from benchmarks.hand_log import OFFSETS, PARTITIONS, READ, Row, append, open_log, rest
from benchmarks.measure import report
from benchmarks.shop.by_hand import SERVICES, encode
from examples.shop.catalog import Demand
from examples.shop.generator import generate_orders
from examples.shop.order import Order

COUNT, BATCH, SEED = 6_000, 500, 1
SHOP = Path(__file__).parent.parent.parent / "examples" / "shop"
TABLES = """
create table replica (key text primary key, data blob) without rowid;
create table positions (consumer integer, partition integer, position integer, primary key (consumer, partition));
"""
MARK = "insert or ignore into inbox values (?, ?, ?) returning 1"
CHECKPOINT = "update positions set position = ? where consumer = ? and partition = ?"

Read = tuple[int, str, str, str, int, bytes, bytes]


@contextmanager
def turn(db: sqlite3.Connection, lock: int) -> Generator[None]:
    """A writing transaction; writers queue at a lock beside the file, which is quicker than SQLite's own wait."""
    fcntl.flock(lock, fcntl.LOCK_EX)
    db.execute("begin immediate")
    yield
    db.execute("commit")
    fcntl.flock(lock, fcntl.LOCK_UN)


class Loop:
    """One service, reading every partition."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.handlers = name, SERVICES[name]
        self.number = list(SERVICES).index(name)
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("pragma synchronous = full")
        self.lock = (path.parent / "lock").open("w")
        self.places = [partition << OFFSETS for partition in range(PARTITIONS)]

    def read(self) -> list[Read]:
        rows: list[Read] = []
        for partition, (head,) in enumerate(self.db.execute("select head from partitions order by id").fetchall()):
            end = partition << OFFSETS | head
            if self.places[partition] < end:
                found = self.db.execute(READ, (self.places[partition], end, BATCH - len(rows))).fetchall()
                rows += found
                self.places[partition] = found[-1][0] if found else self.places[partition]
        return rows

    def handle(self, rows: list[Read]) -> None:
        handlers, emitted, now = self.handlers, list[Row](), int(time())
        events = [(row, handlers[row[2]], handlers[row[2]].decode(row[5])) for row in rows if row[2] in handlers]
        with turn(self.db, self.lock.fileno()):
            for row, handler, event in events:
                if self.db.execute(MARK, (self.number, row[1], now)).fetchone() is None:
                    continue
                made = handler.handle(self.db, event)
                if made is not None:
                    id = repeatable_id(row[1], self.name, row[2], 0)
                    envelope = rest(correlation=row[1], causation=row[1])
                    emitted.append((id, type(made).__name__, row[3], encode(made), envelope))
            if emitted:
                append(self.db, emitted)
            reached = {row[0] >> OFFSETS: row[0] for row in rows}
            self.db.executemany(CHECKPOINT, [(place, self.number, number) for number, place in reached.items()])

    def run(self) -> None:
        print("ready", flush=True)
        while True:
            rows = self.read()
            if rows:
                self.handle(rows)
            else:
                sleep(0.001)


def prepare(path: Path, demand: Demand) -> sqlite3.Connection:
    """The tables and the stock: preparation, not measured."""
    db = open_log(path)
    db.executescript(TABLES + "".join(file.read_text() for file in sorted(SHOP.glob("*/migrations/*.sql"))))
    for number in range(len(SERVICES)):
        rows = [(number, partition, 0) for partition in range(PARTITIONS)]
        db.executemany("insert into positions values (?, ?, ?)", rows)
    db.execute("begin immediate")
    for goods in demand.goods():
        db.execute("insert into inventory_stock (sku, available) values (?, ?)", (goods.product.sku, goods.quantity))
        db.execute("insert into replica values (?, ?)", (goods.product.sku, encode(goods.product)))
    db.execute("commit")
    return db


def place(db: sqlite3.Connection, lock: int, orders: Sequence[Order]) -> None:
    """Put orders into the log, some at a time."""
    for start in range(0, len(orders), BATCH):
        rows = [
            (new_id(), "OrderPlaced", order.order_id, encode(order), rest()) for order in orders[start : start + BATCH]
        ]
        with turn(db, lock):
            append(db, rows)


def wait(db: sqlite3.Connection, query: str, value: int) -> None:
    while db.execute(query).fetchone()[0] != value:
        sleep(0.02)


ENDED = "select count(*) from orders_states where state in ('shipped', 'declined', 'out of stock', 'cancelled')"
BEHIND = """
select sum((positions.partition << 40 | head) > max(position, positions.partition << 40))
from positions join partitions on partitions.id = positions.partition
"""


def main() -> None:
    orders, demand = taken()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "log.db"
        db, lock = prepare(path, demand), (path.parent / "lock").open("w")
        command = [sys.executable, "-m", "benchmarks.shop.twin", str(path)]
        loops = [subprocess.Popen([*command, name], stdout=subprocess.PIPE) for name in SERVICES]
        for loop in loops:
            assert loop.stdout is not None
            loop.stdout.readline()
        started = perf_counter()
        place(db, lock.fileno(), orders)
        wait(db, ENDED, COUNT)
        wait(db, BEHIND, 0)
        seconds = perf_counter() - started
        for loop in loops:
            loop.kill()
            loop.wait()
        (handled,) = db.execute("select count(*) from inbox").fetchone()
    report(handled, seconds, done=handled)


def taken() -> tuple[list[Order], Demand]:
    """The orders to sell, and the stock to sell them from."""
    orders, demand = list(generate_orders(COUNT, SEED)), Demand()
    for order in orders:
        demand.add(order)
    return orders, demand


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Loop(sys.argv[2], Path(sys.argv[1])).run()
    else:
        main()
