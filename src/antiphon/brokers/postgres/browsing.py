"""How is the log read without a group?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from antiphon.brokers.envelope import Row
from antiphon.brokers.places import OFFSET_BITS, OFFSET_MASK, offset_of
from antiphon.brokers.ports import Delivery, Partition, SeekTo
from antiphon.brokers.postgres.arrays import numbers
from antiphon.brokers.postgres.reading import unpacked
from antiphon.brokers.postgres.standing import ends_of
from antiphon.storage.postgres import PostgresDatabase
from antiphon.storage.queries import load_queries

_BROWSE = load_queries("antiphon.brokers.postgres", "sql/messages.sql")["browse"]


async def browse(
    database: PostgresDatabase, topic: str, after: Mapping[int, str] | SeekTo, limit: int
) -> list[Delivery]:
    """Up to `limit` messages after these positions, in order of arrival."""
    if after is SeekTo.END or limit <= 0:
        return []
    positions: Mapping[int, str] = {} if isinstance(after, SeekTo) else after
    ends = await ends_of(database, topic)
    starts = [
        partition_id << OFFSET_BITS | max(floor, offset_of(positions.get(number, "0")))
        for partition_id, number, floor, _ in ends
    ]
    rows = cast(
        "list[tuple[int, int, str, str, str | None, bytes | None, bytes]]",
        await database.fetch(_BROWSE, numbers(starts), limit),
    )
    partitions = {partition_id: Partition(topic, number) for partition_id, number, _, _ in ends}
    envelopes: list[Row] = [row[2:] for row in rows]
    return [
        Delivery(partitions[place >> OFFSET_BITS], str(place & OFFSET_MASK), message)
        for (_, place, *_), message in zip(rows, unpacked(envelopes), strict=True)
    ]
