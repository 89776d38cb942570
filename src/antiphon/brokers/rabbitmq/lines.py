"""Makes exchanges and queues: of each topic one exchange, and of each of its groups a queue for each partition."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from antiphon.brokers.ports import Partition, TopicSpec
from antiphon.brokers.rabbitmq.answers import Depth
from antiphon.brokers.rabbitmq.codec import route
from antiphon.brokers.rabbitmq.driver import Lane, Link, MissingError
from antiphon.brokers.rabbitmq.names import Line, Names, dead_letter_arguments, line_arguments
from antiphon.brokers.rabbitmq.registry import Registry
from antiphon.errors import UnsupportedCapabilityError

_PARTITIONS = TopicSpec("any").partitions


class Lines:
    """What of the topics and groups in the registry is there on the server."""

    def __init__(self, link: Link, registry: Registry, names: Names) -> None:
        self._link, self._registry, self._names = link, registry, names
        self._routes: dict[tuple[str, int], bytes] = {}
        self._exchanges: set[str] = set()

    def known(self, topic: str, number: int) -> bytes | None:
        """How to publish to a partition; None while it is not certain that somebody takes it."""
        return self._routes.get((topic, number))

    def forget(self, topic: str | None = None) -> None:
        """Look again for what this topic, or every topic, has."""
        self._routes = {place: way for place, way in self._routes.items() if topic not in (None, place[0])}
        self._exchanges = self._exchanges - {topic} if topic is not None else set()

    async def make_topics(self, partitions: Mapping[str, int | None]) -> None:
        """Make those that are missing, with the default where it is None."""
        for name in partitions:
            self._names.queue(Line(name, ""), 9_999)  # which says so, where the name is too long for its queues
        await self._registry.make_topics({name: count or _PARTITIONS for name, count in partitions.items()})

    def require_same(self, spec: TopicSpec, where: str) -> None:
        if (held := self._registry.topics[spec.name]) != spec.partitions:
            raise UnsupportedCapabilityError(
                f"topic {spec.name!r} of {where}",
                "change of partitions",
                f"it has {held} and cannot have {spec.partitions}, since keys would move: "
                "make a topic with another name",
            )

    async def open_routes(self, places: Iterable[tuple[str, int]]) -> None:
        """See to it that what is published there is kept, though no group reads it yet."""
        missing = [place for place in dict.fromkeys(places) if place not in self._routes]
        await self._make_exchanges({topic for topic, _ in missing})
        new = [place for place in missing if not self._registry.has_waiting(*place)]
        await asyncio.gather(*(self._make(Line(topic, ""), number) for topic, number in new))
        await self._registry.note_waiting(new)
        for topic, number in missing:
            self._routes[topic, number] = route(self._names.topic(topic), str(number))

    async def mend(self, places: Sequence[tuple[str, int]]) -> None:
        """Make anew what waits for a first group, though it was there: somebody took it away."""
        await self._make_exchanges({topic for topic, _ in places})
        await asyncio.gather(*(self._make(Line(topic, ""), number) for topic, number in set(places)))
        await self.open_routes(places)

    async def join(
        self, group: str, topics: Iterable[str], *, takes_waiting: bool
    ) -> tuple[dict[Partition, str], bool]:
        """The queues of a group, made where they are missing, and whether nobody reads them."""
        topics = list(dict.fromkeys(topics))
        await self.make_topics(dict.fromkeys(topics))
        await self._make_exchanges(topics)
        dead = self._names.dead_letters(group)
        await self.make_dead_letters(group)
        await self._registry.join(group, topics, takes_waiting=takes_waiting)
        lines = [self._registry.line(group, topic) for topic in topics]
        for line in lines:
            # Only now is it certain whose the line is.
            await self._link.do(lambda lane, line=line: lane.bind(dead, self._names.dead, self._names.line(line)))  # type: ignore[misc]  # a loop's value
        places = [(line, number) for line in lines for number in range(self._registry.topics[line.topic])]
        depths = await asyncio.gather(*(self._make(line, number) for line, number in places))
        queues = {Partition(line.topic, number): self._names.queue(line, number) for line, number in places}
        return queues, not any(depth.consumers for depth in depths)

    async def depth(self, queue: str) -> Depth:
        """What a queue holds; nothing where it is not there."""
        try:
            return await self._link.do(lambda lane: lane.look(queue))
        except MissingError:
            return Depth(0, 0)

    async def _make(self, line: Line, number: int) -> Depth:
        queue = self._names.queue(line, number)
        arguments = line_arguments(self._names.dead, self._names.line(line))

        async def make(lane: Lane) -> Depth:
            depth = await lane.declare_queue(queue, arguments)
            await lane.bind(queue, self._names.topic(line.topic), str(number))
            return depth

        return await self._link.do(make)

    async def _make_exchanges(self, topics: Iterable[str]) -> None:
        new = [topic for topic in topics if topic not in self._exchanges]
        await asyncio.gather(*(self._make_exchange(topic) for topic in new))
        self._exchanges.update(new)

    async def _make_exchange(self, topic: str) -> None:
        await self._link.do(lambda lane: lane.declare_exchange(self._names.topic(topic), "direct"))

    async def make_dead_letters(self, group: str) -> None:
        """Make where the messages are kept that a group rejects."""

        async def make(lane: Lane) -> None:
            await lane.declare_exchange(self._names.dead, "direct")
            await lane.declare_queue(self._names.dead_letters(group), dead_letter_arguments())

        await self._link.do(make)
