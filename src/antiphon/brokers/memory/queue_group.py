"""What a group of a queue still has to do: what is ready, what is held by whom, what comes again later."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from heapq import heappop, heappush
from itertools import chain, takewhile
from math import inf
from typing import Protocol

from msgspec import Struct

from antiphon.brokers.memory.bell import Bell, left
from antiphon.brokers.memory.rejected import Rejected
from antiphon.brokers.ports import Delivery, Lag, Outcome, Partition
from antiphon.events.clock import Clock
from antiphon.events.message import Message


class Entry(Struct, eq=False):
    """One message as one group has it, from its publishing until it is settled."""

    message: Message
    partition: Partition
    offset: int
    arrival: datetime
    attempts: int = 0
    delivery: Delivery | None = None
    """The delivery that may be settled; None while nobody holds it."""
    holder: Holder | None = None
    until: float = 0.0
    is_done: bool = False
    """Settled for good. Where it still waits in a line, it is passed over there."""

    @property
    def size(self) -> int:
        return 0 if self.message.data is None else len(self.message.data)


class Holder(Protocol):
    """A member, as its group sees it."""

    id: str
    bell: Bell

    @property
    def topics(self) -> Collection[str]: ...

    @property
    def subscribed(self) -> Collection[str]: ...


class QueueGroup:
    """Competing consumers: each message goes to one member, which holds it until it settles or its hold expires."""

    def __init__(self, name: str, clock: Clock, hold: timedelta) -> None:
        self.name = name
        self.rejected = Rejected(clock, hold)
        """The group's native dead letters."""
        self._clock = clock
        self.hold = hold
        self._hold = hold.total_seconds()
        self._ready: dict[str, deque[Entry]] = {}
        self._held: dict[Entry, None] = {}
        """By the end of the hold, since all holds are equally long."""
        self._delayed: list[tuple[float, int, Entry]] = []
        self._delays = 0
        self._members: list[Holder] = []
        self._joined = 0

    def join(self, member: Holder) -> None:
        self._members.append(member)
        for topic in member.topics:
            self._ready.setdefault(topic, deque())

    def leave(self, member: Holder) -> None:
        """Take back what `member` holds, as if it had never been handed out."""
        if member in self._members:
            self._members.remove(member)
            self._give_back([e for e in self._held if e.holder is member], counted=False)

    def next_member_id(self, name: str | None) -> str:
        self._joined += 1
        return f"{name or 'member'}-{self._joined}"

    def add(self, entry: Entry) -> None:
        self._ready[entry.partition.topic].append(entry)

    def take(self, member: Holder, limit: int, max_bytes: int) -> list[Delivery]:
        """Hand out what is ready: at most `limit`, of together `max_bytes`, at least one."""
        self._wake_delayed()
        self._give_back(self._expired(), counted=True)
        until = self._clock.monotonic() + self._hold
        taken: list[Delivery] = []
        for topic in member.topics:
            ready = self._ready[topic]
            while ready and len(taken) < limit and (not taken or ready[0].size <= max_bytes):
                entry = ready.popleft()
                if entry.is_done:
                    continue
                max_bytes -= entry.size
                taken.append(self._hand_out(entry, member, until))
        return taken

    def next_change(self) -> float:
        """When something becomes ready by itself: a delay ends or a hold expires."""
        delayed = self._delayed[0][0] if self._delayed else inf
        return min(delayed, next(iter(self._held)).until if self._held else inf)

    def holds(self, delivery: Delivery) -> bool:
        entry = delivery.handle
        return isinstance(entry, Entry) and entry.delivery is delivery and left(self._clock, entry.until) > 0

    def extend(self, delivery: Delivery) -> None:
        """Hold it for another full period, if it is held."""
        if self.holds(delivery):
            entry = _entry_of(delivery)
            entry.until = self._clock.monotonic() + self._hold
            del self._held[entry]
            self._held[entry] = None

    def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        """Do as `outcome` says: what is done is done, even when the hold has expired since."""
        entry = _entry_of(delivery)
        if outcome.kind != "again":
            self._release(entry, counted=True)
            entry.is_done = True
        elif entry.delivery is delivery:
            self._again(entry, outcome)
        if outcome.kind == "reject":
            self.rejected.add(delivery)

    def expire(self, member: Holder) -> None:
        """End every hold of `member` now."""
        self._give_back([e for e in self._held if e.holder is member], counted=True)

    def entries(self) -> Iterator[Entry]:
        """All that is not settled, in no order."""
        everywhere = chain(self._held, (entry for _, _, entry in self._delayed), *self._ready.values())
        return (entry for entry in everywhere if not entry.is_done)

    def lag(self, now: datetime, ends: dict[Partition, int]) -> list[Lag]:
        oldest: dict[Partition, Entry] = {}
        counts: Counter[Partition] = Counter()
        for entry in self.entries():
            counts[entry.partition] += 1
            known = oldest.setdefault(entry.partition, entry)
            if entry.offset < known.offset:
                oldest[entry.partition] = entry
        return [
            Lag(
                group=self.name,
                partition=partition,
                position=str(oldest[partition].offset - 1 if partition in oldest else end),
                end=str(end),
                messages=counts[partition],
                age=now - oldest[partition].arrival if partition in oldest else timedelta(),
                owner=next((each.id for each in self._members if partition.topic in each.subscribed), None),
            )
            for partition, end in ends.items()
            if partition.topic in self._ready
        ]

    def _hand_out(self, entry: Entry, member: Holder, until: float) -> Delivery:
        entry.attempts += 1
        entry.holder, entry.until = member, until
        delivery = Delivery(entry.partition, str(entry.offset), entry.message, entry.attempts, entry)
        entry.delivery = delivery
        self._held[entry] = None
        return delivery

    def _expired(self) -> list[Entry]:
        return list(takewhile(lambda entry: not left(self._clock, entry.until), self._held))

    def _wake_delayed(self) -> None:
        while self._delayed and not left(self._clock, self._delayed[0][0]):
            entry = heappop(self._delayed)[2]
            self._ready[entry.partition.topic].append(entry)

    def _again(self, entry: Entry, outcome: Outcome) -> None:
        delay = outcome.delay.total_seconds()
        if delay <= 0:
            self._give_back([entry], counted=outcome.counted)
            return
        self._release(entry, counted=outcome.counted)
        self._delays += 1
        heappush(self._delayed, (self._clock.monotonic() + delay, self._delays, entry))
        self.ring()

    def _give_back(self, entries: list[Entry], *, counted: bool) -> None:
        """Make these ready again, before all others and in their order."""
        for entry in reversed(entries):
            self._release(entry, counted=counted)
            self._ready[entry.partition.topic].appendleft(entry)
        if entries:
            self.ring()

    def _release(self, entry: Entry, *, counted: bool) -> None:
        self._held.pop(entry, None)
        entry.delivery = entry.holder = None
        entry.attempts -= not counted

    def ring(self) -> None:
        for member in self._members:
            member.bell.ring()


def _entry_of(delivery: Delivery) -> Entry:
    entry = delivery.handle
    assert isinstance(entry, Entry)
    return entry
