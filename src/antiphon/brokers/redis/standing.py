"""Where does a group stand in the log, and how is it moved?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import cast

from antiphon.brokers.ports import Lag, Partition, Seek, SeekTo
from antiphon.brokers.redis.cursors import Ends, cursor_of, ends_of, members_of
from antiphon.brokers.redis.membership import owner_name
from antiphon.brokers.redis.places import is_before, lane_of, milliseconds, order_of, partition_of
from antiphon.brokers.redis.resp import Arg, pack
from antiphon.brokers.redis.scripts import Asking, Programs
from antiphon.brokers.redis.topics import Topics
from antiphon.errors import UnknownTopicError, UsageError

_COUNTED_AT_ONCE = 1000


async def lag_of(link: Asking, programs: Programs, group: str) -> list[Lag]:
    """One entry for each partition that the group has a position in."""
    now, rows, lanes = cast("list[object]", await programs.run(link, "lag", group))
    members = members_of(rows)
    found: list[Lag] = []
    for lane, text, reply, unread in cast("list[tuple[bytes, bytes, object, bytes]]", lanes):
        cursor, ends = cursor_of(text), ends_of(reply)
        first = unread.decode()
        age = 0 if first == "-" else int(cast("bytes", now)) - int(first.partition("-")[0])
        found.append(
            Lag(
                group=group,
                partition=partition_of(lane.decode()),
                position=cursor.position,
                end=ends.last,
                messages=0 if first == "-" else max(1, ends.added - max(cursor.entries, ends.deleted)),
                age=timedelta(milliseconds=max(0, age)),
                owner=owner_name(cursor, members),
                skipped=cursor.missed,
            )
        )
    return sorted(found, key=lambda lag: lag.partition)


async def move_group(link: Asking, programs: Programs, topics: Topics, group: str, topic: str, to: Seek) -> None:
    """Move the watermark of each partition that `to` speaks of, and fence whatever its owner still holds."""
    lanes = await topics.lanes(topic)
    args: list[Arg] = []
    if isinstance(to, SeekTo):
        for lane in lanes:
            args += (lane, to.value, 0)
    else:
        found = [ends_of(row) for row in cast("list[object]", await programs.run(link, "ends", *lanes))]
        ends = dict(zip(lanes, found, strict=True))
        places = await _since(link, programs, ends, to) if isinstance(to, datetime) else _exact(topic, to, ends)
        for lane, position in places.items():
            args += (lane, position, await _count_up_to(link, programs, lane, position, ends[lane]))
    await programs.run(link, "seek", group, *args)


async def _since(link: Asking, programs: Programs, ends: Mapping[str, Ends], moment: datetime) -> dict[str, str]:
    """Of each lane the last position before a moment."""
    first = f"{milliseconds(moment)}-0"
    places: dict[str, str] = {}
    for lane, at in ends.items():
        reply = await link.send([_last_before(programs, lane, first)], 1)
        found = cast("list[tuple[bytes, object]]", reply[0])
        places[lane] = found[0][0].decode() if found else at.floor
    return places


def _last_before(programs: Programs, lane: str, id: str) -> bytes:
    return pack(("XREVRANGE", f"{programs.prefix}:log:{lane}", f"({id}", "-", "COUNT", 1))


def _exact(topic: str, to: Mapping[Partition, str], ends: Mapping[str, Ends]) -> dict[str, str]:
    places: dict[str, str] = {}
    for partition, position in to.items():
        order_of(position)
        lane = lane_of(partition)
        if partition.topic != topic or lane not in ends:
            raise UnknownTopicError(f"{partition.topic}/{partition.number}")
        at = ends[lane]
        if is_before(position, at.floor) or is_before(at.last, position):
            raise UsageError(
                f"cannot seek {topic}/{partition.number} to {position}: it holds the positions {at.floor} to {at.last}"
            )
        places[lane] = position
    return places


async def _count_up_to(link: Asking, programs: Programs, lane: str, position: str, ends: Ends) -> int:
    """How many entries there ever were up to a position: those after it are counted, a step at a time."""
    after, seen = 0, position
    while is_before(seen, ends.last):
        found = await programs.run(link, "count", lane, seen, ends.last, _COUNTED_AT_ONCE)
        count, last = cast("Sequence[object]", found)
        if not count:
            break
        after, seen = after + cast("int", count), cast("bytes", last).decode()
    return ends.added - after
