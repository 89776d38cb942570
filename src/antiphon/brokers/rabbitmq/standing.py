"""How much is there, and how far are groups behind? What is handed out the server does not count: its readers do."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from uuid import uuid4

import msgspec
from msgspec import Struct

from antiphon.brokers.ports import Lag, Partition, TopicState
from antiphon.brokers.rabbitmq.answers import Depth, Received
from antiphon.brokers.rabbitmq.codec import Plain, moment_of, route
from antiphon.brokers.rabbitmq.driver import Link
from antiphon.brokers.rabbitmq.lines import Lines
from antiphon.brokers.rabbitmq.names import Line, Names
from antiphon.brokers.rabbitmq.outlet import Outlet
from antiphon.brokers.rabbitmq.reader import Reader
from antiphon.brokers.rabbitmq.registry import Registry
from antiphon.brokers.rabbitmq.roster import Word
from antiphon.events.clock import Clock

_TRIES = 20
_PATIENCE = 0.5
"""Seconds for which members in other processes are waited for; what one holds that does not answer is not counted."""
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Word).decode


class Share(Struct):
    """What a reader has of a partition."""

    held: int
    oldest: str | None
    owner: str


class Own(Struct):
    """A member in this process."""

    group: str
    id: str
    readers: Mapping[Partition, Reader]


class Standing:
    """Measures. `own` are the members in this process."""

    def __init__(
        self, link: Link, registry: Registry, lines: Lines, outlet: Outlet, names: Names, own: Collection[Own],
        clock: Clock,
    ) -> None:  # fmt: skip
        self._link, self._registry, self._lines, self._outlet, self._names = link, registry, lines, outlet, names
        self._own, self._clock = own, clock

    async def topics(self) -> list[TopicState]:
        """Where several groups read a topic, the one that has most to do says how many messages it holds.

        How many bytes there are is not known.
        """
        lines: defaultdict[str, dict[Line, int]] = defaultdict(dict)
        places = list(self._registry.queues(self._names))
        depths = await asyncio.gather(*(self._lines.depth(queue) for _, _, queue in places))
        held = {(own.group, p): reader.held for own in self._own for p, reader in own.readers.items()}
        groups = {
            self._registry.line(group, topic): group
            for group, names in self._registry.groups.items()
            for topic in names
        }
        for (line, number, _), depth in zip(places, depths, strict=True):
            here = held.get((groups.get(line, ""), Partition(line.topic, number)), 0)
            lines[line.topic][line] = lines[line.topic].get(line, 0) + depth.messages + here
        return [
            TopicState(name=name, partitions=partitions, messages=max(lines[name].values(), default=0), bytes=None)
            for name, partitions in self._registry.topics.items()
        ]

    async def lag(self, group: str) -> list[Lag]:
        topics = self._registry.groups.get(group, ())
        queues = {
            Partition(topic, number): self._names.queue(self._registry.line(group, topic), number)
            for topic in topics
            for number in range(self._registry.topics[topic])
        }
        depths, shares = await self._measured(group, queues)
        return [self._lag(group, partition, depths[partition], shares.get(partition)) for partition in queues]

    async def _measured(
        self, group: str, queues: Mapping[Partition, str]
    ) -> tuple[dict[Partition, Depth], dict[Partition, Share]]:
        """Both at one moment: messages move from the queues into readers while one looks."""
        depths, shares = await self._depths(queues), dict[Partition, Share]()
        for _ in range(_TRIES):
            readers = [reader for own in self._own if own.group == group for reader in own.readers.values()]
            await asyncio.gather(*(reader.barrier() for reader in readers))
            shares = self._shares(group)
            others = {p for p, depth in depths.items() if depth.consumers and p not in shares}
            shares = {**(await self._asked(group, others) if others else {}), **shares}
            again = await self._depths(queues)
            if _messages(again) == _messages(depths) and self._shares(group).items() <= shares.items():
                break
            depths = again
        return depths, shares

    async def _depths(self, queues: Mapping[Partition, str]) -> dict[Partition, Depth]:
        depths = await asyncio.gather(*(self._lines.depth(queue) for queue in queues.values()))
        return dict(zip(queues, depths, strict=True))

    def _shares(self, group: str) -> dict[Partition, Share]:
        return {
            partition: Share(reader.held, reader.oldest, own.id)
            for own in self._own
            if own.group == group
            for partition, reader in own.readers.items()
            if reader.is_reading
        }

    async def _asked(self, group: str, wanted: set[Partition]) -> dict[Partition, Share]:
        """What members in other processes have, as they say."""
        found: dict[Partition, Share] = {}
        is_complete = asyncio.Event()
        queue = self._names.member(uuid4().hex)

        def take(received: Received) -> None:
            word = _decode(received.body)
            for share in word.shares:
                found[Partition(share.topic, share.number)] = Share(share.held, share.oldest, word.id)
            if wanted <= found.keys():
                is_complete.set()

        lane = await self._link.lane()
        try:
            await lane.declare_queue(queue, {}, exclusive=True)
            await lane.consume(queue, take, 0)
            asking = Plain(route(self._names.group(group), ""), _encode(Word("ask", queue, queue)))
            await self._outlet.send([asking])
            async with asyncio.timeout(_PATIENCE):
                await is_complete.wait()
        except TimeoutError:
            pass
        finally:
            await lane.close()
        return found

    def _lag(self, group: str, partition: Partition, depth: Depth, share: Share | None) -> Lag:
        oldest = None if share is None or share.oldest is None else moment_of(share.oldest)
        age = timedelta() if oldest is None else max(timedelta(), self._clock.now() - oldest)
        return Lag(
            group=group,
            partition=partition,
            position="" if share is None else share.oldest or "",
            end="",
            messages=depth.messages + (0 if share is None else share.held),
            age=age,
            owner=None if share is None else share.owner,
        )


def _messages(depths: Mapping[Partition, Depth]) -> Sequence[int]:
    return [depth.messages for depth in depths.values()]
