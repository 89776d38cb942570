"""How are rows of several partitions read into deliveries, in one round trip?"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple, cast

from antiphon.brokers.envelope import Row, unpack
from antiphon.brokers.offsets import OwnedPartition
from antiphon.brokers.places import OFFSET_BITS, OFFSET_MASK
from antiphon.brokers.ports import Delivery
from antiphon.brokers.postgres.arrays import numbers
from antiphon.brokers.postgres.odd import any_marked, given
from antiphon.events.message import Message
from antiphon.storage.postgres import PostgresDatabase
from antiphon.storage.queries import load_queries

_SQL = load_queries("antiphon.brokers.postgres", "sql/messages.sql")
_READ, _READ_WITHIN = _SQL["read"], _SQL["read_within"]

_Row = tuple[int, str, str, str | None, bytes | None, bytes]
_place = itemgetter(0)


class Part(NamedTuple):
    """What was read of a partition: the deliveries after `after`, and whether those that should be there are."""

    owned: OwnedPartition
    after: int
    deliveries: Sequence[Delivery]
    is_whole: bool


async def read_shares(
    database: PostgresDatabase, shares: Sequence[tuple[OwnedPartition, int]], max_bytes: int
) -> list[Part]:
    """The next so many deliveries of each, of together some `max_bytes`, but at least one."""
    shares = [(owned, count) for owned, count in shares if count > 0]
    if not shares:
        return []
    afters = [owned.read for owned, _ in shares]
    starts = numbers([owned.id << OFFSET_BITS | after for (owned, _), after in zip(shares, afters, strict=True)])
    wanted = numbers([count for _, count in shares])
    is_tight = sum(owned.largest * count for owned, count in shares) > max_bytes
    found = await (
        database.fetch(_READ_WITHIN, starts, wanted, max_bytes) if is_tight else database.fetch(_READ, starts, wanted)
    )
    rows = cast("list[_Row]", found)
    rows.sort(key=_place)
    by_partition = _divided(rows)
    return [
        _part(owned, after, by_partition.get(owned.id, ()), None if is_tight else count)
        for (owned, count), after in zip(shares, afters, strict=True)
    ]


def _divided(rows: Sequence[_Row]) -> dict[int, Sequence[_Row]]:
    """The rows of each partition, which stand one after another."""
    divided: dict[int, Sequence[_Row]] = {}
    start = 0
    while start < len(rows):
        partition_id = rows[start][0] >> OFFSET_BITS
        end = _end_of(rows, start, partition_id)
        divided[partition_id] = rows[start:end]
        start = end
    return divided


def _end_of(rows: Sequence[_Row], start: int, partition_id: int) -> int:
    """Where the rows of another partition begin, found by halving."""
    low, high = start, len(rows)
    beyond = (partition_id + 1) << OFFSET_BITS
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if rows[middle][0] < beyond else (low, middle)
    return low


def _part(owned: OwnedPartition, after: int, rows: Sequence[_Row], count: int | None) -> Part:
    # Offsets leave no gap: the last one says whether any is missing.
    is_gapless = not rows or rows[-1][0] & OFFSET_MASK == after + len(rows)
    if not is_gapless or (count is not None and len(rows) != count):
        return Part(owned, after, (), is_whole=False)
    partition, positions = owned.partition, map(str, range(after + 1, after + len(rows) + 1))
    messages = unpacked([row[1:] for row in rows])
    deliveries = [Delivery(partition, position, each) for position, each in zip(positions, messages, strict=True)]
    return Part(owned, after, deliveries, is_whole=True)


def unpacked(rows: Sequence[Row]) -> list[Message]:
    """The messages of rows, in their order."""
    if any_marked([row[1] for row in rows]):
        rows = [(*given(row[:3]), *row[3:]) for row in rows]
    return unpack(rows) if rows else []
