"""One partition as one member of a group reads it: what came, what is in hand, and what becomes of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Final

from msgspec import Struct

from antiphon.brokers.ports import Delivery, Partition
from antiphon.brokers.rabbitmq.answers import Received
from antiphon.brokers.rabbitmq.driver import Lane, Link
from antiphon.errors import BrokerError, ConnectionLostError

_DELIVERIES: Final = "x-delivery-count"


class Entry(Struct, eq=False):
    """One message, from its arrival until it is settled or lost. `order` is its place among all that its reader got."""

    reader: Reader
    order: int
    received: Received
    position: str
    more: int = 0
    """Attempts that were made here one after another, without giving it back."""
    delivery: Delivery | None = None
    """What may be settled; None while nobody has it in hand."""
    until: float = 0.0

    @property
    def deliveries(self) -> int:
        """How often it came back to the queue before."""
        count = self.received.headers.get(_DELIVERIES)
        return count if isinstance(count, int) else 0


class Reader:
    """Reads one queue, of which it is the single active consumer once everybody before it is gone.

    A queue gives back to their places only what its consumer held when that one went. Hence nothing is given back by
    itself: it waits here, or everything goes, and with it the channel.
    """

    def __init__(self, partition: Partition, queue: str, prefetch: int, ring: Callable[[], None]) -> None:
        self.partition, self.queue = partition, queue
        self.ready: deque[Entry] = deque()
        """What nobody has in hand, in order."""
        self.tags: dict[int, Entry] = {}
        """All that is not acknowledged, in the order of their tags."""
        self.is_leaving = False
        self.left_at = 0.0
        """Until when it may be worked on, once it is leaving."""
        self.is_unsure = False
        """Whether something of `ready` was delivered before."""
        self.on_lost: Callable[[], None] = lambda: None
        self._prefetch, self._ring = prefetch, ring
        self._lane: Lane | None = None
        self._is_closed = False
        self._orders = 0
        self._away: dict[str, Entry] = {}
        """What was in hand when the channel was lost, by position: it is still worked on, and may come back to us."""
        self._places: dict[str, int] = {}
        """The order of all that was here when the channel was lost, by position: it comes again in this order."""
        self._leaving: dict[str, Entry] = {}
        """What is being acknowledged."""

    @property
    def is_reading(self) -> bool:
        return self._lane is not None and self._lane.is_open

    @property
    def is_lost(self) -> bool:
        """Whether it was read, and is not until its channel is made again."""
        return self._lane is not None and not self._lane.is_open and not self._is_closed

    @property
    def held(self) -> int:
        """How many messages of the queue are here."""
        return len(self.tags) + len(self._leaving)

    @property
    def oldest(self) -> str | None:
        """The position of the first of them."""
        return next((entry.position for entry in self.tags.values()), None)

    def in_hand(self) -> list[Entry]:
        return [entry for entry in (*self.tags.values(), *self._away.values()) if entry.delivery is not None]

    @property
    def is_in_hand(self) -> bool:
        return bool(self._away or self._leaving) or any(entry.delivery is not None for entry in self.tags.values())

    async def open(self, link: Link) -> None:
        """Begin to read, or again after a loss. Raises ConnectionLostError, MissingError, RefusedError."""
        lane = await link.lane()
        lane.watch(lambda: self._on_lost(lane))
        self._lane = lane
        try:
            await lane.consume(self.queue, lambda received: self._on_message(lane, received), self._prefetch)
        except BrokerError:
            await lane.close()
            raise

    async def barrier(self) -> None:
        """Return when everything came that was on its way."""
        if self._lane is not None and self._lane.is_open:
            await self._lane.barrier(self._prefetch)

    async def close(self) -> None:
        """Let everything go back to its place; whatever was in hand cannot be settled any more. Twice is safe."""
        self._is_closed = True
        if self._lane is not None:
            await self._lane.close()

    def came_since(self, tag: int) -> list[str]:
        """The positions of what came after that tag, which nobody had in hand."""
        return [entry.position for own, entry in self.tags.items() if own > tag]

    def forget(self) -> None:
        """Nothing of it is here any more."""
        for entry in self.in_hand():
            entry.delivery = None
        self.ready.clear()
        self.tags.clear()
        self._away.clear()
        self._places.clear()

    def put_back(self, entries: Collection[Entry], *, counted: bool) -> None:
        """Let these be fetched again, before all that came after them."""
        for entry in entries:
            entry.delivery = None
            entry.more += counted
        self.ready = deque(sorted([*entries, *self.ready], key=lambda entry: entry.order))
        self._ring()

    def has(self, entry: Entry) -> bool:
        """Whether it is here and not acknowledged."""
        return self.tags.get(entry.received.tag) is entry

    def holds(self, entry: Entry) -> bool:
        """Whether it can be settled now. Raises ConnectionLostError while that is not known."""
        if self._away.get(entry.position) is entry:
            raise ConnectionLostError(f"{self.partition.topic}/{self.partition.number} is not read again yet")
        return self.has(entry)

    async def acknowledge(self, entries: Sequence[Entry]) -> None:
        """Returns when the server has it; raises ConnectionLostError when it may not, and then they come again."""
        lane = self._lane
        assert lane is not None, "only what is held is settled"
        tags = sorted(entry.received.tag for entry in entries)
        for entry in entries:
            del self.tags[entry.received.tag]
            self._leaving[entry.position] = entry
        first = next(iter(self.tags), tags[-1] + 1)
        below = [tag for tag in tags if tag < first]
        await lane.acknowledge(below[-1] if below else 0, tags[len(below) :])
        await lane.barrier(self._prefetch)
        for entry in entries:
            entry.delivery = None
            self._leaving.pop(entry.position, None)

    async def drop(self, entry: Entry) -> None:
        """Let the server keep it as a dead letter."""
        lane = self._lane
        assert lane is not None, "only what is held is settled"
        del self.tags[entry.received.tag]
        entry.delivery = None
        await lane.drop(entry.received.tag)

    def _on_message(self, lane: Lane, received: Received) -> None:
        if lane is not self._lane:
            return
        position = received.message_id or f"{id(lane):x}-{received.tag}"
        known = self._away.pop(position, None)
        order = self._places.pop(position, None)
        if self._places or self._away:
            self._pass_over(order)
        if known is not None and known.delivery is not None:
            # It is being worked on here, and nobody else got it meanwhile.
            known.received = received
            self.tags[received.tag] = known
            return
        if order is None:
            self._orders += 1
        entry = Entry(self, order or self._orders, received, position)
        self.tags[received.tag] = entry
        self.ready.append(entry)
        self.is_unsure = self.is_unsure or entry.deliveries > 0
        self._ring()

    def _pass_over(self, order: int | None) -> None:
        """What was before this one and did not come again was acknowledged, or others have it."""
        for position, entry in list(self._away.items()):
            if order is None or entry.order < order:
                entry.delivery = None
                del self._away[position]
        if order is None:
            self._places.clear()

    def _on_lost(self, lane: Lane) -> None:
        if lane is not self._lane or self._is_closed:
            return
        here = (*self._leaving.values(), *self.tags.values())
        self._places = {**self._places, **{entry.position: entry.order for entry in here}}
        entries = {entry.position: entry for entry in self.tags.values() if entry.delivery is not None}
        self._away = {**self._away, **entries, **self._leaving}
        self._leaving.clear()
        self.ready.clear()
        self.tags.clear()
        self.on_lost()

    def forget_away(self) -> None:
        """What did not come back to us by now does not any more."""
        self._pass_over(None)
