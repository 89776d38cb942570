"""How is the log read without a group?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import merge
from itertools import islice
from typing import cast

from antiphon.brokers.ports import Delivery, SeekTo
from antiphon.brokers.redis.cursors import ends_of
from antiphon.brokers.redis.envelope import to_delivery
from antiphon.brokers.redis.places import START, order_of, partition_of
from antiphon.brokers.redis.resp import pack
from antiphon.brokers.redis.scripts import Asking, Programs

_Entry = tuple[bytes, list[bytes]]


async def browse(
    link: Asking, programs: Programs, lanes: Sequence[str], after: Mapping[int, str] | SeekTo, limit: int
) -> list[Delivery]:
    """Up to `limit` messages after these positions, in order of arrival."""
    if after is SeekTo.END or limit <= 0:
        return []
    positions: Mapping[int, str] = {} if isinstance(after, SeekTo) else after
    asked: list[bytes] = []
    for lane in lanes:
        position = positions.get(partition_of(lane).number, START)
        order_of(position)
        asked.append(pack(("XRANGE", f"{programs.prefix}:log:{lane}", f"({position}", "+", "COUNT", limit)))
    replies = cast("list[list[_Entry]]", await link.send(asked, len(asked)))
    found = [
        [(order_of(id.decode()), partition_of(lane), id, fields) for id, fields in entries]
        for lane, entries in zip(lanes, replies, strict=True)
    ]
    first = islice(merge(*found, key=lambda entry: entry[0]), limit)
    return [to_delivery(partition, id, fields) for _, partition, id, fields in first]


async def ends(link: Asking, programs: Programs, lanes: Sequence[str]) -> dict[int, str]:
    """The position at the end of each partition, by number."""
    rows = cast("list[object]", await programs.run(link, "ends", *lanes))
    return {partition_of(lane).number: ends_of(row).last for lane, row in zip(lanes, rows, strict=True)}
