"""How is the log read without a group?"""

from __future__ import annotations

from collections.abc import Mapping
from heapq import merge
from itertools import islice
from typing import cast

from antiphon.brokers.embedded.appending import OFFSET_BITS, OFFSET_MASK
from antiphon.brokers.embedded.envelope import unpack
from antiphon.brokers.embedded.subscription import offset_of
from antiphon.brokers.ports import Delivery, Partition, SeekTo
from antiphon.storage.queries import load_queries
from antiphon.storage.sqlite import SqliteDatabase

_SQL = load_queries("antiphon.brokers.embedded", "sql/messages.sql")
_ENDS = load_queries("antiphon.brokers.embedded", "sql/groups.sql")["floor_and_head"]

_Row = tuple[int, int, str, str, str | None, int, bytes | None, bytes | None]
_Found = tuple[int, Partition, int, _Row]


def browse(database: SqliteDatabase, topic: str, after: Mapping[int, str] | SeekTo, limit: int) -> list[Delivery]:
    """Up to `limit` messages after these positions, in order of arrival."""
    if after is SeekTo.END or limit <= 0:
        return []
    positions: Mapping[int, str] = {} if isinstance(after, SeekTo) else after
    ends = cast("list[tuple[int, int, int, int]]", database.read(_ENDS, (topic,)))
    lanes: list[list[_Found]] = []
    for partition_id, number, floor, _ in ends:
        start = max(floor, offset_of(positions.get(number, "0")))
        partition = Partition(topic, number)
        lanes.append(_read(database, partition, partition_id << OFFSET_BITS | start, limit))
    return [
        Delivery(partition, str(offset), unpack(*row[2:]))
        for _, partition, offset, row in islice(merge(*lanes, key=lambda found: found[0]), limit)
    ]


def ends(database: SqliteDatabase, topic: str) -> dict[int, str]:
    """The position at the end of each partition, by number."""
    rows = cast("list[tuple[int, int, int, int]]", database.read(_ENDS, (topic,)))
    return {number: str(head) for _, number, _, head in rows}


def _read(database: SqliteDatabase, partition: Partition, start: int, limit: int) -> list[_Found]:
    rows = cast("list[_Row]", database.read(_SQL["read_arrived"], (start, start + limit)))
    return [(row[0], partition, row[1] & OFFSET_MASK, row) for row in rows]
