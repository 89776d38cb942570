"""The memory broker as a log: topics that keep what they hold, and groups that read it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from heapq import merge
from itertools import islice

from antiphon.brokers.capabilities import Capabilities
from antiphon.brokers.memory.log_group import LogGroup
from antiphon.brokers.memory.log_subscription import MemoryLogSubscription
from antiphon.brokers.memory.shelf import Shelf
from antiphon.brokers.memory.topic import PartitionLog, offset_of
from antiphon.brokers.ports import Delivery, Lag, Seek, SeekTo, Start, SubscribeOptions, TopicSpec, TopicState
from antiphon.events.clock import Clock
from antiphon.events.message import Outgoing
from antiphon.storage.database import Database

LOG_CAPABILITIES = Capabilities(
    model="log",
    durable=False,
    key_order=True,
    groups=True,
    replay=True,
    seek_time=True,
    transactions=True,
    store_transactions=True,
    request_reply=True,
    headers=True,
)


class LogForm:
    """Topics kept whole, and the groups that stand somewhere in them."""

    def __init__(
        self, clock: Clock, hold: timedelta, database: Database, accept_whole: Callable[[Sequence[Outgoing]], None]
    ) -> None:
        self.shelf = Shelf(clock)
        self.groups: dict[str, LogGroup] = {}
        self._clock = clock
        self._hold = hold
        self._database = database
        self._accept_whole = accept_whole

    def accept(self, outgoing: Sequence[Outgoing]) -> None:
        self.shelf.append(outgoing)

    def join(self, group: str, topics: Sequence[str], options: SubscribeOptions) -> MemoryLogSubscription:
        joined = self._group(group)
        held = [self.shelf.topic(name) for name in topics]
        for topic in held:
            joined.begin(topic, options.start)
        member = MemoryLogSubscription(
            joined.next_member_id(options.member),
            joined,
            held,
            options,
            self._clock,
            self._database,
            self._accept_whole,
        )
        joined.join(member)
        return member

    def ensure(self, spec: TopicSpec) -> None:
        self.shelf.ensure(spec)

    def states(self) -> list[TopicState]:
        return self.shelf.states()

    def lag(self, group: str) -> list[Lag]:
        self.shelf.retain()
        return self.groups[group].lag(self._clock.now()) if group in self.groups else []

    def seek(self, group: str, topic: str, to: Seek) -> None:
        held = self.shelf.known(topic)
        moved = self._group(group)
        moved.begin(held, Start.START)
        moved.move(held, _target(to))

    def browse(self, topic: str, after: Mapping[int, str] | SeekTo, limit: int) -> list[Delivery]:
        logs = self.shelf.known(topic).logs
        if after is SeekTo.END:
            return []
        places: Mapping[int, str] = {} if after is SeekTo.START else after
        starts = ((log, offset_of(places.get(log.partition.number, "0")) + 1) for log in logs)
        in_order = merge(*(_arrived(log, start, limit) for log, start in starts), key=_arrival)
        return [delivery for _, delivery in islice(in_order, limit)]

    def _group(self, name: str) -> LogGroup:
        group = self.groups.get(name)
        if group is None:
            group = self.groups[name] = LogGroup(name, self._clock, self._hold)
        return group

    def ends(self, topic: str) -> dict[int, str]:
        return {log.partition.number: str(log.end - 1) for log in self.shelf.known(topic).logs}


def _arrival(arrived: tuple[datetime, Delivery]) -> datetime:
    return arrived[0]


def _arrived(log: PartitionLog, start: int, limit: int) -> Iterator[tuple[datetime, Delivery]]:
    start = max(start, log.first)
    for offset in range(start, min(start + limit, log.end)):
        yield log.arrival(offset), Delivery(log.partition, str(offset), log.message(offset))


def _target(to: Seek) -> Callable[[PartitionLog, int], int]:
    """Gives the offset that counts as done after the seek, from a partition and what was done before."""
    if to is SeekTo.START:
        return lambda log, _: log.first - 1
    if to is SeekTo.END:
        return lambda log, _: log.end - 1
    if isinstance(to, datetime):
        return lambda log, _: log.since(to) - 1
    offsets = {partition: offset_of(position) for partition, position in to.items()}
    return lambda log, done: offsets.get(log.partition, done)
