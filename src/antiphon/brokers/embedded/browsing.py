"""How is the log read without a group?"""

from __future__ import annotations

from collections.abc import Mapping
from heapq import merge
from itertools import islice
from typing import cast

from antiphon.brokers.envelope import unpack
from antiphon.brokers.places import OFFSET_BITS, OFFSET_MASK, offset_of
from antiphon.brokers.ports import Delivery, Partition, SeekTo
from antiphon.storage.queries import load_queries
from antiphon.storage.sqlite import SqliteDatabase

_SQL = load_queries("antiphon.brokers.embedded", "sql/messages.sql")
_ENDS = load_queries("antiphon.brokers.embedded", "sql/groups.sql")["floor_and_head"]

_Arrived = tuple[str, str, str | None, bytes | None, bytes, int, int]
_Found = tuple[int, Delivery]


def browse(database: SqliteDatabase, topic: str, after: Mapping[int, str] | SeekTo, limit: int) -> list[Delivery]:
    """Up to `limit` messages after these positions, in order of arrival."""
    if after is SeekTo.END or limit <= 0:
        return []
    positions: Mapping[int, str] = {} if isinstance(after, SeekTo) else after
    lanes: list[list[_Found]] = []
    for partition_id, number, floor, _ in cast("list[tuple[int, int, int, int]]", database.read(_ENDS, (topic,))):
        start = max(floor, offset_of(positions.get(number, "0")))
        partition = Partition(topic, number)
        lanes.append(_read(database, partition, partition_id << OFFSET_BITS | start, limit))
    return [delivery for _, delivery in islice(merge(*lanes, key=lambda found: found[0]), limit)]


def ends(database: SqliteDatabase, topic: str) -> dict[int, str]:
    """The position at the end of each partition, by number."""
    rows = cast("list[tuple[int, int, int, int]]", database.read(_ENDS, (topic,)))
    return {number: str(head) for _, number, _, head in rows}


def _read(database: SqliteDatabase, partition: Partition, start: int, limit: int) -> list[_Found]:
    rows = cast("list[_Arrived]", database.read(_SQL["read_arrived"], (start, start + limit)))
    messages = unpack([row[:5] for row in rows])
    return [
        (arrived, Delivery(partition, str(place & OFFSET_MASK), message))
        for (*_, arrived, place), message in zip(rows, messages, strict=True)
    ]
