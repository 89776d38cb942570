"""Where does a group stand, and how is it moved?"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from msgspec.structs import replace

from antiphon.brokers.nats.holdings import place_of
from antiphon.brokers.nats.link import Link
from antiphon.brokers.nats.table import Cursor, Kept, Standing, Table
from antiphon.brokers.nats.topics import StreamInfo, Topic, Topics
from antiphon.brokers.ports import Lag, Partition, Seek, SeekTo
from antiphon.errors import ConnectionLostError, UnknownTopicError, UsageError

_TRIES = 20
"""A member that commits all the time may be faster some times."""


async def lag_of(link: Link, table: Table, topics: Topics, group: str) -> list[Lag]:
    """One entry for each partition that the group has a position in."""
    standing = await table.read_all(group)
    names = sorted({partition.topic for partition in standing.cursors})
    infos = dict(zip(names, await asyncio.gather(*(topics.info(name) for name in names)), strict=True))
    lags = [
        _lag(
            link,
            standing,
            await topics.find(partition.topic),
            infos[partition.topic],
            standing.cursors[partition].value,
        )
        for partition in sorted(standing.cursors)
    ]
    return list(await asyncio.gather(*lags))


async def _lag(link: Link, standing: Standing, topic: Topic, info: StreamInfo, cursor: Cursor) -> Lag:
    owner = standing.members.get(cursor.owner or "")
    lag = Lag(
        group=cursor.group,
        partition=cursor.partition,
        position=str(cursor.position),
        end=str(cursor.position),
        messages=0,
        age=timedelta(),
        owner=owner.value.name if owner else None,
        skipped=cursor.skipped,
    )
    start = max(cursor.position, cursor.seen, info.state.first_seq - 1)
    if start >= info.state.last_seq:
        return lag
    subject = topic.subjects[cursor.number]
    first = await link.read(topic.stream, {"seq": start + 1, "next_by_subj": subject, "batch": 1})
    if not first:
        return lag
    last = await link.read(topic.stream, {"multi_last": [subject]})
    headers, final = first[0].headers or {}, last[0].headers or {}
    age = datetime.fromisoformat(info.ts) - datetime.fromisoformat(headers["Nats-Time-Stamp"])
    unread = int(headers["Nats-Num-Pending"]) + 1
    return replace(lag, end=final["Nats-Sequence"], messages=unread, age=max(timedelta(), age))


async def move_group(link: Link, table: Table, topics: Topics, group: str, topic: Topic, to: Seek) -> None:
    """Move the place of each partition that `to` speaks of, and fence whatever its owner still holds."""
    info = await topics.info(topic.name)
    targets = await _targets(link, topic, info, to)
    for _ in range(_TRIES):
        standing = await table.read(group, [topic])
        changes: list[Kept[Cursor]] = []
        for number, position in targets.items():
            cursor, revision = standing.cursors.get(
                Partition(topic.name, number), Kept(Cursor(group=group, topic=topic.name, number=number), 0)
            )
            moved = replace(cursor, position=position, seen=position, epoch=cursor.epoch + 1, stream=info.created)
            changes.append(Kept(moved, revision))
        acks = await table.write(changes)
        targets = {kept.value.number: kept.value.position for kept, ack in zip(changes, acks, strict=True) if ack.code}
        if not targets:
            return
    raise ConnectionLostError(f"group {group!r} could not be moved: its members were faster {_TRIES} times; try again")


async def _targets(link: Link, topic: Topic, info: StreamInfo, to: Seek) -> dict[int, int]:
    floor, end = max(0, info.state.first_seq - 1), info.state.last_seq
    if isinstance(to, (SeekTo, datetime)):
        if to is SeekTo.START:
            at = floor
        elif to is SeekTo.END:
            at = end
        else:
            at = await _before(link, topic, to, end)
        return dict.fromkeys(range(topic.partitions), at)
    return {partition.number: _exact(topic, partition, position, floor, end) for partition, position in to.items()}


async def _before(link: Link, topic: Topic, moment: datetime, end: int) -> int:
    """The last place before the first message of that moment or later."""
    body = {"start_time": moment.isoformat().replace("+00:00", "Z"), "next_by_subj": ">", "batch": 1}
    found = await link.read(topic.stream, body)
    return int((found[0].headers or {})["Nats-Sequence"]) - 1 if found else end


def _exact(topic: Topic, partition: Partition, position: str, floor: int, end: int) -> int:
    place = place_of(position)
    if partition.topic != topic.name or not 0 <= partition.number < topic.partitions:
        raise UnknownTopicError(f"{partition.topic}/{partition.number}")
    if not floor <= place <= end:
        raise UsageError(
            f"cannot seek {topic.name}/{partition.number} to {position}: it holds the positions {floor} to {end}"
        )
    return place
