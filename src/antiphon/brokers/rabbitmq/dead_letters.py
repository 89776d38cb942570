"""What a group rejected: kept in a queue of its own, looked through, taken, and settled."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta

from msgspec import Struct

from antiphon.brokers.ports import Delivery, Partition, Settlement
from antiphon.brokers.rabbitmq.answers import Received
from antiphon.brokers.rabbitmq.codec import PARTITION, TOPIC, Envelope, read, route
from antiphon.brokers.rabbitmq.driver import Lane, Link, MissingError
from antiphon.brokers.rabbitmq.lines import Lines
from antiphon.brokers.rabbitmq.names import Names
from antiphon.brokers.rabbitmq.outlet import Outlet
from antiphon.errors import ConnectionLostError, UnsupportedCapabilityError
from antiphon.events.clock import Clock
from antiphon.events.message import Outgoing


class Hold(Struct, eq=False):
    """Those that were taken together, from one queue, until a moment."""

    group: str
    lane: Lane
    until: float
    kept: dict[int, Delivery]


class Grip(Struct, eq=False):
    """One of them; the handle of its delivery."""

    hold: Hold
    tag: int


class DeadLetters:
    """The queues of rejected messages, one for each group."""

    def __init__(self, link: Link, lines: Lines, outlet: Outlet, names: Names, hold: timedelta, clock: Clock) -> None:
        self._link, self._lines, self._outlet, self._names = link, lines, outlet, names
        self._hold, self._clock = hold.total_seconds(), clock
        self._holds: list[Hold] = []

    async def keep(self, group: str, rejected: Sequence[Delivery]) -> None:
        """Keep these as what `group` rejected; returns when the server has them. Raises ConnectionLostError."""
        envelopes = [
            Envelope(self._way(group), each.message, {TOPIC: each.partition.topic, PARTITION: each.partition.number})
            for each in rejected
        ]
        refused = await self._outlet.send(envelopes, [each.position for each in rejected])
        if refused:
            raise ConnectionLostError(
                f"{self._link.shown} does not keep what {group!r} rejects: {next(iter(refused.values()))}"
            )

    async def write(self, group: str, kept: Sequence[Outgoing]) -> Mapping[int, str]:
        """Keep these, which came from nowhere; returns why some were refused, by index."""
        await self._lines.make_dead_letters(group)
        return await self._outlet.send(
            [Envelope(self._way(group), message, {TOPIC: topic, PARTITION: 0}) for topic, message in kept]
        )

    async def read(self, group: str, limit: int) -> Sequence[Delivery]:
        """The oldest of them. Those that somebody in another process has in hand are not seen."""
        await self._end_holds()
        lane = await self._link.lane()
        try:
            found = [self._delivery(received) for received in await self._get(lane, group, limit)]
        finally:
            await lane.close()  # and everything goes back to its place
        in_hand = [each for hold in self._holds if hold.group == group for each in hold.kept.values()]
        return sorted([*in_hand, *found], key=lambda each: each.position)[:limit]

    async def take(self, group: str, limit: int) -> Sequence[Delivery]:
        """The oldest that nobody has in hand."""
        await self._end_holds()
        lane = await self._link.lane()
        hold = Hold(group, lane, self._clock.monotonic() + self._hold, {})
        self._holds.append(hold)
        for received in await self._get(lane, group, limit):
            hold.kept[received.tag] = self._delivery(received, Grip(hold, received.tag))
        taken = sorted(hold.kept.values(), key=lambda each: each.position)
        await self._end_holds()
        return taken

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        await self._end_holds()
        for delivery, outcome in settlements:
            grip = delivery.handle
            if not isinstance(grip, Grip) or grip.hold.kept.get(grip.tag) is not delivery:
                continue
            del grip.hold.kept[grip.tag]
            if outcome.kind == "done":
                await grip.hold.lane.acknowledge(0, [grip.tag])
                await grip.hold.lane.barrier()
            else:
                await grip.hold.lane.give_back(grip.tag)
                await grip.hold.lane.barrier()
        await self._end_holds()

    async def close(self) -> None:
        """Give back what is in hand."""
        holds, self._holds = self._holds, []
        await asyncio.gather(*(hold.lane.close() for hold in holds))

    async def _end_holds(self) -> None:
        """Give back what is held for too long, and forget what was settled."""
        now = self._clock.monotonic()
        for hold in [hold for hold in self._holds if hold.until <= now or not hold.kept or not hold.lane.is_open]:
            self._holds.remove(hold)
            hold.kept.clear()
            await hold.lane.close()

    async def _get(self, lane: Lane, group: str, limit: int) -> list[Received]:
        found: list[Received] = []
        try:
            while len(found) < limit and (received := await lane.get(self._names.dead_letters(group))) is not None:
                found.append(received)
        except MissingError:
            return []
        return found

    def _delivery(self, received: Received, handle: Grip | None = None) -> Delivery:
        position = received.message_id or f"?-{received.tag}"
        message, problem = read(received.headers, received.body, received.content_type, position, received.at)
        return Delivery(self._place(received.headers), position, message, 1, handle, problem)

    def _place(self, headers: Mapping[str, object]) -> Partition:
        """Where it came from: we say so, or the server, where it gave up after many deliveries."""
        topic, number = headers.get(TOPIC), headers.get(PARTITION)
        if isinstance(topic, str) and isinstance(number, int):
            return Partition(topic, number)
        return self._names.partition(str(headers.get("x-first-death-queue", ""))) or Partition("", 0)

    def _way(self, group: str) -> bytes:
        return route("", self._names.dead_letters(group))


def refuse_rejections(settlements: Sequence[Settlement]) -> None:
    if any(settlement.outcome.kind == "reject" for settlement in settlements):
        raise UnsupportedCapabilityError("a dead letter", "rejection", "it is rejected already: settle it as done")
