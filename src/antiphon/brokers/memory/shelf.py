"""Which topics a memory broker has, and how messages get into them."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.brokers.memory.topic import MemoryTopic
from antiphon.brokers.ports import TopicSpec, TopicState
from antiphon.errors import UnknownTopicError, UnsupportedCapabilityError
from antiphon.events.clock import Clock
from antiphon.events.message import Outgoing


def require_same_partitions(held: TopicSpec, asked: TopicSpec) -> None:
    """Refuse what would move keys to other partitions."""
    if held.partitions != asked.partitions:
        raise UnsupportedCapabilityError(
            f"topic {held.name!r} of the memory broker",
            "change of partitions",
            f"it has {held.partitions} and cannot have {asked.partitions}, since keys would move: "
            "make a topic with another name",
        )


class Shelf:
    """The topics of one broker; an unknown one is made with the defaults."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._topics: dict[str, MemoryTopic] = {}

    def topic(self, name: str) -> MemoryTopic:
        held = self._topics.get(name)
        if held is None:
            held = self._topics[name] = MemoryTopic(TopicSpec(name))
        return held

    def known(self, name: str) -> MemoryTopic:
        """The topic, or UnknownTopicError."""
        if name not in self._topics:
            raise UnknownTopicError(name, tuple(self._topics))
        return self._topics[name]

    def ensure(self, spec: TopicSpec) -> None:
        if spec.name not in self._topics:
            self._topics[spec.name] = MemoryTopic(spec)
            return
        held = self._topics[spec.name]
        require_same_partitions(held.spec, spec)
        held.spec = spec
        held.retain(self._clock.now())

    def append(self, outgoing: Sequence[Outgoing]) -> None:
        """Hold these, each at the end of its key's partition."""
        topics, now = self._topics, self._clock.now()
        touched: dict[str, MemoryTopic] = {}
        for name, message in outgoing:
            topic = touched.get(name)
            if topic is None:
                topic = touched[name] = topics.get(name) or self.topic(name)
            topic.log_of(message.key).append(message, now)
        for topic in touched.values():
            topic.retain(now)
            topic.ring()

    def retain(self) -> None:
        now = self._clock.now()
        for topic in self._topics.values():
            topic.retain(now)

    def states(self) -> list[TopicState]:
        self.retain()
        return [topic.state() for topic in self._topics.values()]
