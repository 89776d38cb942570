"""What do streams hold, how far are groups in them, and where is a moment?"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from heapq import merge
from itertools import islice

from antiphon.brokers.places import exact_offsets
from antiphon.brokers.ports import Delivery, Lag, Partition, Seek, SeekTo, TopicState
from antiphon.brokers.rabbitmq.codec import moment_of
from antiphon.brokers.rabbitmq.course import Course, Place
from antiphon.brokers.rabbitmq.driver import Link, MissingError, Received
from antiphon.brokers.rabbitmq.log_reader import MOST, offset_in, peek
from antiphon.brokers.rabbitmq.log_subscription import delivery_of
from antiphon.brokers.rabbitmq.names import Names
from antiphon.brokers.rabbitmq.registry import Registry
from antiphon.errors import UnknownTopicError

_LOOKS = 3
_CHANNELS = 16
"""Of a connection at once; a server allows some 2000."""
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class LogStanding:
    """Looks at streams. Everything raises ConnectionLostError."""

    def __init__(self, link: Link, registry: Registry, names: Names) -> None:
        self._link, self._registry, self._names = link, registry, names
        self._at_once = asyncio.Semaphore(_CHANNELS)

    async def topics(self) -> list[TopicState]:
        """As `Broker.topics`. How many bytes there are is not known."""
        return await asyncio.gather(*(self._state(name, count) for name, count in self._registry.topics.items()))

    async def _state(self, name: str, partitions: int) -> TopicState:
        return TopicState(name, partitions, sum(end - first for _, first, end in await self.spans(name)), None)

    async def spans(self, topic: str) -> list[tuple[int, int, int]]:
        """Of each partition its number, and the positions of its beginning and its end. Raises UnknownTopicError."""
        return await asyncio.gather(*(self._span(topic, number) for number in self._numbers(topic)))

    async def _span(self, topic: str, number: int) -> tuple[int, int, int]:
        first, last = list[Received](), list[Received]()
        for _ in range(_LOOKS):
            first, last = await asyncio.gather(self._peek(topic, number, "first", 1), self._peek(topic, number, "last"))
            if bool(first) == bool(last):
                break  # else a busy server was too slow with one of them
        start, end = (offset_in(first[0]) if first else 0), (offset_in(last[-1]) + 1 if last else 0)
        return number, start, max(start, end)

    async def lag(self, group: str, course: Course) -> list[Lag]:
        """As `Broker.lag`."""
        places = sorted(course.places.values(), key=lambda place: place.partition)
        return await asyncio.gather(*(self._lag(group, place, course) for place in places))

    async def _lag(self, group: str, place: Place, course: Course) -> Lag:
        _, first, end = await self._span(place.topic, place.number)
        at = max(place.position, first)
        age = timedelta()
        if at < end:
            oldest = await self._peek(place.topic, place.number, at, 1)
            arrived = moment_of(oldest[0].message_id or "") if oldest else None
            age = timedelta() if arrived is None else max(timedelta(), datetime.now(UTC) - arrived)
        owner = course.seats.get(place.owner or "")
        return Lag(
            group, place.partition, str(place.position), str(end), max(0, end - at), age,
            owner.name if owner else None, place.skipped,
        )  # fmt: skip

    async def targets(self, topic: str, to: Seek) -> list[Place]:
        """Where a group is to go on in each partition. Raises UnknownTopicError, UsageError."""
        if isinstance(to, datetime):
            found = await asyncio.gather(*(self._since(topic, number, to) for number in self._numbers(topic)))
            return [Place(topic, number, at) for number, at in enumerate(found)]
        spans = await self.spans(topic)
        if isinstance(to, SeekTo):
            return [Place(topic, number, first if to is SeekTo.START else end) for number, first, end in spans]
        return [Place(topic, number, at) for number, at in exact_offsets(topic, to, spans).items()]

    async def _since(self, topic: str, number: int, moment: datetime) -> int:
        """Before the first message that was published then or later."""
        # The server looks for a piece, whose messages may be older than the moment.
        found = await self._peek(topic, number, moment)
        later = next((each for each in found if _is_since(each, moment)), None)
        return (await self._span(topic, number))[2] if later is None else offset_in(later)

    async def browse(self, topic: str, after: Mapping[int, str] | SeekTo, limit: int) -> list[Delivery]:
        """As `Browsing.browse`."""
        numbers = self._numbers(topic)
        if after is SeekTo.END:
            return []
        places: Mapping[int, str] = {} if isinstance(after, SeekTo) else after
        parts = await asyncio.gather(
            *(self._browse(topic, number, int(places.get(number, "0")), limit) for number in numbers)
        )
        return [delivery for _, delivery in islice(merge(*parts, key=lambda each: each[0]), limit)]

    async def _browse(self, topic: str, number: int, at: int, limit: int) -> list[tuple[datetime, Delivery]]:
        """With the moment of each; one that nobody knows is that of the one before it."""
        moment, found = _LONG_AGO, list[tuple[datetime, Delivery]]()
        for each in await self._peek(topic, number, at, limit):
            if offset_in(each) >= at:
                moment = max(moment, moment_of(each.message_id or "") or moment)
                found.append((moment, delivery_of(Partition(topic, number), offset_in(each) + 1, each)))
        return found

    async def _peek(self, topic: str, number: int, start: int | str | datetime, limit: int = MOST) -> list[Received]:
        """Nothing where nobody has published or read yet, so that there is no stream."""
        if not self._registry.has_waiting(topic, number):
            return []
        async with self._at_once:
            try:
                return await peek(self._link, self._names.stream(topic, number), start, limit)
            except MissingError:
                return []

    def _numbers(self, topic: str) -> range:
        if topic not in self._registry.topics:
            raise UnknownTopicError(topic, tuple(self._registry.topics))
        return range(self._registry.topics[topic])


def _is_since(received: Received, moment: datetime) -> bool:
    published = moment_of(received.message_id or "")
    return published is None or published >= moment
