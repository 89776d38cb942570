"""The memory broker as a queue: each group gets each message, and one member of the group settles it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from antiphon.brokers.capabilities import Capabilities
from antiphon.brokers.memory.queue_group import Entry, QueueGroup
from antiphon.brokers.memory.queue_subscription import MemoryQueueSubscription
from antiphon.brokers.memory.rejected import Grip
from antiphon.brokers.memory.shelf import require_same_partitions
from antiphon.brokers.placement import place
from antiphon.brokers.ports import Delivery, Lag, Partition, Settlement, Start, SubscribeOptions, TopicSpec, TopicState
from antiphon.errors import UnsupportedCapabilityError, UsageError
from antiphon.events.clock import Clock
from antiphon.events.message import Message, Outgoing
from antiphon.storage.database import Database

QUEUE_CAPABILITIES = Capabilities(
    model="queue",
    durable=False,
    groups=True,
    native_delay=True,
    native_dead_letters=True,
    store_transactions=True,
    request_reply=True,
    headers=True,
)


class _QueueTopic:
    """A topic's groups, and what waits for the first of them."""

    def __init__(self, spec: TopicSpec) -> None:
        self.spec = spec
        self.groups: list[QueueGroup] = []
        self.waiting: list[Entry] = []
        self.partitions = [Partition(spec.name, number) for number in range(spec.partitions)]
        self.ends = [0] * spec.partitions
        self._turn = 0

    def accept(self, message: Message, arrival: datetime) -> None:
        """Give one entry to each group."""
        number = self._number(message.key)
        offset = self.ends[number] = self.ends[number] + 1
        partition = self.partitions[number]
        if not self.groups:
            self.waiting.append(Entry(message, partition, offset, arrival))
        for group in self.groups:
            group.add(Entry(message, partition, offset, arrival))

    def join(self, group: QueueGroup, start: Start) -> None:
        """Let `group` have what comes from now on; the first one also has what waited, unless it starts at the end."""
        if group not in self.groups:
            self.groups.append(group)
            if start is not Start.END:
                for entry in self.waiting:
                    group.add(entry)
                self.waiting.clear()

    def state(self) -> TopicState:
        held = {(e.partition, e.offset): e.size for e in self._entries()}
        return TopicState(
            name=self.spec.name, partitions=self.spec.partitions, messages=len(held), bytes=sum(held.values())
        )

    def _entries(self) -> list[Entry]:
        of_groups = [e for group in self.groups for e in group.entries() if e.partition.topic == self.spec.name]
        return self.waiting + of_groups

    def _number(self, key: str | None) -> int:
        if key is not None:
            return place(key, self.spec.partitions)
        self._turn = (self._turn + 1) % self.spec.partitions
        return self._turn


class QueueForm:
    """Topics that hold a message until every group has settled it."""

    def __init__(self, clock: Clock, hold: timedelta, database: Database, capabilities: Capabilities) -> None:
        self.groups: dict[str, QueueGroup] = {}
        self._topics: dict[str, _QueueTopic] = {}
        self._clock = clock
        self._hold = hold
        self._database = database
        self._capabilities = capabilities

    def accept(self, outgoing: Sequence[Outgoing]) -> None:
        now = self._clock.now()
        touched: dict[str, _QueueTopic] = {}
        for name, message in outgoing:
            topic = touched.get(name)
            if topic is None:
                topic = touched[name] = self._topic(name)
            topic.accept(message, now)
        for group in {id(group): group for topic in touched.values() for group in topic.groups}.values():
            group.ring()

    def join(self, group: str, topics: Sequence[str], options: SubscribeOptions) -> MemoryQueueSubscription:
        joined = self.groups.get(group)
        if joined is None:
            joined = self.groups[group] = QueueGroup(group, self._clock, self._hold)
        member = MemoryQueueSubscription(
            joined.next_member_id(options.member), joined, topics, self._capabilities, self._clock, self._database
        )
        joined.join(member)
        for name in topics:
            self._topic(name).join(joined, options.start)
        return member

    def ensure(self, spec: TopicSpec) -> None:
        if spec.keep_for is not None or spec.keep_bytes is not None:
            raise UnsupportedCapabilityError(
                f"topic {spec.name!r} of the memory queue", "retention", "it keeps a message until it is settled"
            )
        require_same_partitions(self._topics.setdefault(spec.name, _QueueTopic(spec)).spec, spec)

    def states(self) -> list[TopicState]:
        return [topic.state() for topic in self._topics.values()]

    def lag(self, group: str) -> list[Lag]:
        ends = {p: end for t in self._topics.values() for p, end in zip(t.partitions, t.ends, strict=True)}
        return self.groups[group].lag(self._clock.now(), ends) if group in self.groups else []

    def rejected(self, group: str) -> Sequence[Delivery]:
        """The native dead letters of `group`, oldest first."""
        return self.groups[group].rejected.read() if group in self.groups else ()

    def take_rejected(self, group: str, limit: int) -> Sequence[Delivery]:
        return self.groups[group].rejected.take(limit) if group in self.groups else ()

    def write_rejected(self, group: str, kept: Sequence[Outgoing]) -> None:
        """Keep these as if `group` had rejected them. Raises UsageError for a group that nobody joined."""
        if group not in self.groups:
            raise UsageError(f"no group {group!r} reads this queue, so it has no dead letters: subscribe first")
        for topic, message in kept:
            self.groups[group].rejected.add(Delivery(Partition(topic, 0), "", message))

    def settle_rejected(self, settlements: Sequence[Settlement]) -> None:
        for delivery, outcome in settlements:
            if isinstance(delivery.handle, Grip):
                delivery.handle.keeper.settle(delivery.handle, outcome)

    def _topic(self, name: str) -> _QueueTopic:
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = _QueueTopic(TopicSpec(name))
        return topic
