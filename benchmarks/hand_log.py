"""The log that the twins write by hand: the same columns, ids, places and pragmas as the embedded broker's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from time import time_ns

import msgspec

from antiphon.brokers.placement import hash_of_key
from antiphon.events.ids import new_id
from benchmarks.data import key_of, order_json

PARTITIONS = 8
OFFSETS = 40

SCHEMA = """
create table partitions (id integer primary key, head integer not null default 0) strict;
create table messages (
    place integer primary key, id text not null, type text not null, key text,
    time integer not null, arrived integer not null, data blob, rest blob
) strict;
create table cursors (partition integer primary key, position integer not null) strict, without rowid;
create table inbox (consumer integer, id text, marked_at integer, primary key (consumer, id)) without rowid;
create table ledger (order_id text not null, pence integer not null) strict;
"""
READ = """
select place, id, type, key, time, data, rest from messages where place > ? and place <= ? order by place limit ?
"""
APPEND = "insert into messages (place, id, type, key, time, arrived, data, rest) values (?, ?, ?, ?, ?, ?, ?, ?)"
MOVE_END = "update partitions set head = ? where id = ?"
CHECKPOINT = "update cursors set position = ? where partition = ?"

Row = tuple[str, str, str, bytes, bytes]
"""Id, type, key, data and the rest of the envelope."""


def open_log(path: Path) -> sqlite3.Connection:
    """A new log with as many empty partitions as the embedded broker makes."""
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript("pragma journal_mode = wal; pragma synchronous = full;" + SCHEMA)
    db.executemany("insert into partitions (id) values (?)", [(number,) for number in range(PARTITIONS)])
    db.executemany("insert into cursors values (?, 0)", [(number,) for number in range(PARTITIONS)])
    return db


def rest(*, correlation: str | None = None, causation: str | None = None) -> bytes:
    """What the envelope carries beside the columns."""
    return msgspec.msgpack.encode(("shop", 1, "application/json", correlation, causation))


def append(db: sqlite3.Connection, rows: Iterable[Row]) -> None:
    """Write at the ends of the partitions, inside the caller's transaction."""
    now = time_ns() // 1000
    heads: dict[int, int] = dict(db.execute("select id, head from partitions"))
    placed: list[tuple[object, ...]] = []
    for id, type, key, data, envelope in rows:
        partition = hash_of_key(key) % PARTITIONS
        heads[partition] = head = heads[partition] + 1
        placed.append((partition << OFFSETS | head, id, type, key, now, now, data, envelope))
    db.executemany(APPEND, placed)
    db.executemany(MOVE_END, [(head, partition) for partition, head in heads.items()])


def fill(db: sqlite3.Connection, count: int) -> None:
    """Put `count` orders into the log; preparation, not measured."""
    envelope = rest()
    rows = ((new_id(), "OrderPlaced", key_of(number), order_json(number), envelope) for number in range(count))
    db.execute("begin immediate")
    append(db, rows)
    db.execute("commit")
