"""How are rows of a partition read into deliveries, within a bound of messages and bytes?"""

from __future__ import annotations

from typing import cast

from antiphon.brokers.envelope import Row, unpack
from antiphon.brokers.offsets import OwnedPartition
from antiphon.brokers.places import OFFSET_BITS
from antiphon.brokers.ports import Delivery
from antiphon.storage.queries import load_queries
from antiphon.storage.sqlite import SqliteDatabase

_SQL = load_queries("antiphon.brokers.embedded", "sql/messages.sql")
_READ, _SIZES = _SQL["read"], _SQL["sizes"]
_SIZES_AT_ONCE = 1000


def read_partition(
    database: SqliteDatabase, owned: OwnedPartition, count: int, max_bytes: int, *, least: int
) -> tuple[list[Delivery], bool]:
    """The next `count` deliveries of together at most `max_bytes`, though at least `least`; and whether all are there.

    They are not all there when retention deleted the first of them meanwhile; then none is returned.
    """
    start = owned.id << OFFSET_BITS | owned.read
    if owned.largest * count > max_bytes:
        count = _fitting(database, start, count, max_bytes, least)
    if not count:
        return [], True
    rows = cast("list[Row]", database.read(_READ, (start, start + count)))
    if len(rows) != count:
        return [], False
    partition, positions = owned.partition, map(str, range(owned.read + 1, owned.read + count + 1))
    messages = unpack(rows)
    return [Delivery(partition, position, each) for position, each in zip(positions, messages, strict=True)], True


def _fitting(database: SqliteDatabase, start: int, count: int, max_bytes: int, least: int) -> int:
    """How many of the next `count` fit. Their sizes are read first, since one may be thousands of times another."""
    fitting = 0
    while fitting < count:
        step = min(_SIZES_AT_ONCE, count - fitting)
        sizes = cast("list[tuple[int]]", database.read(_SIZES, (start + fitting, start + fitting + step)))
        for (size,) in sizes:
            max_bytes -= size
            if max_bytes < 0:
                return max(fitting, least)
            fitting += 1
        if len(sizes) < step:
            break  # some were deleted meanwhile; the read will tell
    return count
