"""What do streams hold, how far are groups in them, and where is a moment?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from heapq import merge
from itertools import compress, islice

from msgspec.structs import replace

from antiphon.brokers.places import exact_offsets
from antiphon.brokers.ports import Delivery, Lag, Partition, Seek, SeekTo, TopicState
from antiphon.brokers.rabbitmq.answers import Received
from antiphon.brokers.rabbitmq.codec import moment_of
from antiphon.brokers.rabbitmq.course import Course, Place
from antiphon.brokers.rabbitmq.driver import Link
from antiphon.brokers.rabbitmq.log_subscription import delivery_of
from antiphon.brokers.rabbitmq.names import Names
from antiphon.brokers.rabbitmq.peeking import MOST, Look, Peeking, offset_in
from antiphon.brokers.rabbitmq.registry import Registry
from antiphon.errors import UnknownTopicError

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class LogStanding:
    """Looks at streams. Everything raises ConnectionLostError."""

    def __init__(self, link: Link, registry: Registry, names: Names) -> None:
        self._registry, self._names = registry, names
        self._peeking = Peeking(link, names.log_registry)

    async def topics(self) -> list[TopicState]:
        """As `Broker.topics`. How many bytes there are is not known."""
        partitions = dict(self._registry.topics)
        spans = await self._spans([Partition(topic, n) for topic, count in partitions.items() for n in range(count)])
        held = Counter(dict.fromkeys(partitions, 0))
        for partition, (first, end) in spans.items():
            held[partition.topic] += end - first
        return [TopicState(topic, count, held[topic], None) for topic, count in partitions.items()]

    async def spans(self, topic: str) -> list[tuple[int, int, int]]:
        """Of each partition its number, and the positions of its beginning and its end. Raises UnknownTopicError."""
        spans = await self._spans([Partition(topic, number) for number in self._numbers(topic)])
        return [(partition.number, first, end) for partition, (first, end) in spans.items()]

    async def _spans(self, partitions: Sequence[Partition]) -> dict[Partition, tuple[int, int]]:
        firsts = [(each, "first", 1) for each in partitions]
        found = await self._look([*firsts, *((each, "last", MOST) for each in partitions)])
        halves = zip(partitions, found, found[len(partitions) :], strict=False)
        return {each: _span(first, last) for each, first, last in halves}

    async def lag(self, group: str, course: Course) -> list[Lag]:
        """As `Broker.lag`."""
        # As they are now: what is done while we look at the ends is not done yet.
        places = sorted(map(replace, course.places.values()), key=lambda place: place.partition)
        spans = await self._spans([place.partition for place in places])
        at = {place.partition: max(place.position, spans[place.partition][0]) for place in places}
        waiting = [partition for partition, (_, end) in spans.items() if at[partition] < end]
        oldest = await self._look([(each, at[each], 1) for each in waiting])
        ages = dict(zip(waiting, map(_age, oldest), strict=True))
        return [
            Lag(
                group, place.partition, str(place.position), str(end), max(0, end - at[place.partition]),
                ages.get(place.partition, timedelta()), _name_of(course, place), place.skipped,
            )
            for place, (_, end) in zip(places, spans.values(), strict=True)
        ]  # fmt: skip

    async def targets(self, topic: str, to: Seek) -> list[Place]:
        """Where a group is to go on in each partition. Raises UnknownTopicError, UsageError."""
        spans = await self.spans(topic)
        if isinstance(to, datetime):
            # The server looks for a piece, whose messages may be older than the moment.
            found = await self._look([(Partition(topic, number), to, MOST) for number, _, _ in spans])
            return [
                Place(topic, number, _since(each, to, end)) for each, (number, _, end) in zip(found, spans, strict=True)
            ]
        if isinstance(to, SeekTo):
            return [Place(topic, number, first if to is SeekTo.START else end) for number, first, end in spans]
        return [Place(topic, number, at) for number, at in exact_offsets(topic, to, spans).items()]

    async def browse(self, topic: str, after: Mapping[int, str] | SeekTo, limit: int) -> list[Delivery]:
        """As `Browsing.browse`."""
        partitions = [Partition(topic, number) for number in self._numbers(topic)]
        if after is SeekTo.END:
            return []
        places: Mapping[int, str] = {} if isinstance(after, SeekTo) else after
        starts = [int(places.get(partition.number, "0")) for partition in partitions]
        found = await self._look([(*each, limit) for each in zip(partitions, starts, strict=True)])
        parts = [_dated(*each) for each in zip(partitions, starts, found, strict=True)]
        return [delivery for _, delivery in islice(merge(*parts, key=lambda each: each[0]), limit)]

    async def _look(self, looks: Sequence[tuple[Partition, int | str | datetime, int]]) -> list[list[Received]]:
        """Nothing where nobody has published or read yet, so that there is no stream."""
        there = [self._registry.has_waiting(*partition) for partition, _, _ in looks]
        asked = [Look(self._names.stream(*each), start, n) for each, start, n in compress(looks, there)]
        found = iter(await self._peeking.look(asked))
        return [next(found) if is_there else [] for is_there in there]

    def _numbers(self, topic: str) -> range:
        if topic not in self._registry.topics:
            raise UnknownTopicError(topic, tuple(self._registry.topics))
        return range(self._registry.topics[topic])


def _span(first: Sequence[Received], last: Sequence[Received]) -> tuple[int, int]:
    """The positions of the beginning and the end. Where only one look found something, that came between the two."""
    if not first and not last:
        return 0, 0
    return offset_in((first or last)[0]), offset_in((last or first)[-1]) + 1


def _age(oldest: Sequence[Received]) -> timedelta:
    arrived = moment_of(oldest[0].message_id or "") if oldest else None
    return timedelta() if arrived is None else max(timedelta(), datetime.now(UTC) - arrived)


def _name_of(course: Course, place: Place) -> str | None:
    owner = course.seats.get(place.owner or "")
    return owner.name if owner else None


def _since(found: Sequence[Received], moment: datetime, end: int) -> int:
    """Before the first message that was published then or later."""
    later = next((each for each in found if _is_since(each, moment)), None)
    return end if later is None else offset_in(later)


def _dated(partition: Partition, at: int, found: Sequence[Received]) -> list[tuple[datetime, Delivery]]:
    """With the moment of each; one that nobody knows is that of the one before it."""
    moment, dated = _LONG_AGO, list[tuple[datetime, Delivery]]()
    for each in found:
        if offset_in(each) >= at:
            moment = max(moment, moment_of(each.message_id or "") or moment)
            dated.append((moment, delivery_of(partition, offset_in(each) + 1, each)))
    return dated


def _is_since(received: Received, moment: datetime) -> bool:
    published = moment_of(received.message_id or "")
    return published is None or published >= moment
