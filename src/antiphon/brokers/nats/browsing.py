"""How is a topic read without a group?"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from heapq import merge

from antiphon.brokers.nats.calls import Arrived
from antiphon.brokers.nats.envelope import unpack
from antiphon.brokers.nats.holdings import place_of
from antiphon.brokers.nats.link import Link
from antiphon.brokers.nats.topics import Topic
from antiphon.brokers.ports import Delivery, Partition, SeekTo


async def browse(link: Link, topic: Topic, after: Mapping[int, str] | SeekTo, limit: int) -> list[Delivery]:
    """Up to `limit` messages after these positions, in order of arrival."""
    if after is SeekTo.END or limit <= 0:
        return []
    positions: Mapping[int, str] = {} if isinstance(after, SeekTo) else after
    starts = [place_of(positions.get(number, "0")) + 1 for number in range(topic.partitions)]
    lanes = await asyncio.gather(*(_read(link, topic, number, start, limit) for number, start in enumerate(starts)))
    found = list(merge(*lanes, key=_place))[:limit]
    numbers = {subject: number for number, subject in enumerate(topic.subjects)}
    return [_delivery(topic, numbers, message) for message in found]


async def ends(link: Link, topic: Topic) -> dict[int, str]:
    """The position at the end of each partition, by number."""
    last = await link.read(topic.stream, {"multi_last": list(topic.subjects)})
    places = {_header(message, "Nats-Subject"): _header(message, "Nats-Sequence") for message in last}
    return {number: places.get(subject, "0") for number, subject in enumerate(topic.subjects)}


async def _read(link: Link, topic: Topic, number: int, start: int, limit: int) -> list[Arrived]:
    found: list[Arrived] = []
    while len(found) < limit:
        # The server may end an answer early, by its size.
        page = await link.read(
            topic.stream, {"seq": start, "next_by_subj": topic.subjects[number], "batch": limit - len(found)}
        )
        found += page
        if not page or _header(page[-1], "Nats-Num-Pending") == "0":
            break
        start = _place(page[-1]) + 1
    return found


def _delivery(topic: Topic, numbers: Mapping[str, int], message: Arrived) -> Delivery:
    headers = message.headers or {}
    own = {name: value for name, value in headers.items() if not name.startswith("Nats-")}
    partition = Partition(topic.name, numbers[headers["Nats-Subject"]])
    stored = datetime.fromisoformat(headers["Nats-Time-Stamp"])
    return unpack(partition, _place(message), own, message.data, stored)


def _place(message: Arrived) -> int:
    return int(_header(message, "Nats-Sequence"))


def _header(message: Arrived, name: str) -> str:
    return (message.headers or {}).get(name, "0")
