"""Keeps one member in its group: its share of the partitions, what it holds for too long, its way back after a loss."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta

from msgspec import Struct

from antiphon.brokers.assignment import Lease, Member, Plan, plan
from antiphon.brokers.ports import Partition
from antiphon.brokers.rabbitmq.driver import Link, MissingError
from antiphon.brokers.rabbitmq.gone import QueueGoneError
from antiphon.brokers.rabbitmq.reader import Reader
from antiphon.brokers.rabbitmq.roster import Roster, Share, Word
from antiphon.brokers.rabbitmq.subscription import RabbitSubscription
from antiphon.errors import AccessDeniedError, BrokerError
from antiphon.events.clock import Clock

logger = logging.getLogger("antiphon.brokers.rabbitmq")

_BEAT = 1.0
"""Seconds between two words to the other members, and at most between two looks at what is held for too long."""
_ANSWERING = 0.1
"""Seconds for which a newcomer waits for the others, where somebody reads already."""
_GONE = timedelta(seconds=10)
"""A member that is connected and silent for so long has no share any more."""
_RETURN = 5.0
"""Seconds after which what was in hand at a loss is not waited for any more."""


class Settings(Struct, frozen=True):
    """How a member reads."""

    hold: timedelta
    grace: timedelta
    prefetch: int


class Membership:
    """All is done by one task, so that no two steps meet."""

    def __init__(
        self, link: Link, subscription: RabbitSubscription, group: str, id: str, queues: Mapping[Partition, str],
        settings: Settings, clock: Clock,
    ) -> None:  # fmt: skip
        self.roster: Roster
        self.id = id
        self._link, self._subscription, self._group, self._queues = link, subscription, group, queues
        self._settings, self._clock = settings, clock
        self._topics = sorted({partition.topic for partition in queues})
        self._queue = ""
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._told: object = None
        self._beat_at = 0.0
        self._looked_at = 0.0
        self._trouble = ""
        self._back: dict[Reader, float] = {}
        subscription.on_activity = self._news.set
        subscription.leave = self.leave

    async def join(self, *, is_first: bool) -> None:
        """Be known to the others, and begin to claim; partitions come in the background."""
        await self._meet()
        self._looked_at = self._clock.monotonic()
        self._task = asyncio.create_task(self._run(0.0 if is_first else _ANSWERING), name="antiphon rabbitmq member")

    async def leave(self) -> None:
        """Give back all in its order, uncounted, and say so."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        readers = list(self._subscription.readers.values())
        with suppress(BrokerError):
            await self._return(readers, counted=False)
        with suppress(BrokerError):
            await self.roster.bye()
        await self.roster.close()
        await self._subscription.notes.close()

    def look(self) -> None:
        """Something changed: a connection, another member."""
        self._news.set()

    def word(self) -> Word:
        """What the others are told."""
        shares = [
            Share(reader.partition.topic, reader.partition.number, reader.held, reader.oldest)
            for reader in self._subscription.readers.values()
        ]
        return Word("beat", self.id, self._queue, self._topics, shares, self._subscription.takes_part)

    async def _run(self, wait: float) -> None:
        await asyncio.sleep(wait)
        while True:
            self._news.clear()
            try:
                await self._step()
                self._trouble = ""
            except AccessDeniedError as error:
                self._stop(error)
            except BrokerError as error:
                if str(error) != self._trouble:
                    logger.warning("group %r is not kept up until this is over: %s", self._group, error)
                self._trouble = str(error)
                await asyncio.sleep(_ANSWERING)
            with suppress(TimeoutError):
                async with asyncio.timeout(min(_BEAT, self._settings.hold.total_seconds() / 4)):
                    await self._news.wait()

    async def _step(self) -> None:
        if not self._link.is_up or self._subscription.failure is not None:
            return
        if not self.roster.is_open:
            await self._meet()
        await self._end_holds()
        self._follow(self._plan())
        await self._part()
        await self._open()
        await self._tell()

    async def _meet(self) -> None:
        self._queue = await self.roster.open()
        await self._subscription.notes.open()
        await self.roster.hello()

    async def _tell(self) -> None:
        """Say what changed at once, and that one lives from time to time."""
        now, own = self._clock.monotonic(), (set(self._subscription.readers), self._subscription.takes_part)
        if own != self._told or self.roster.owes or now >= self._beat_at:
            self._told, self._beat_at = own, now + _BEAT
            await self.roster.beat()

    def _plan(self) -> Plan:
        now, mine = self._clock.now(), self._subscription
        members = [Member(self.id, frozenset(self._topics if mine.takes_part else ()), now)]
        owners = dict.fromkeys(mine.readers, self.id)
        for id, peer in self.roster.peers.items():
            members.append(Member(id, frozenset(peer.word.topics if peer.word.is_able else ()), peer.heard))
            for share in peer.word.shares if peer.heard + _GONE > now else ():
                partition = Partition(share.topic, share.number)
                owners[partition] = min(id, owners.get(partition, id))
        leases = [Lease(partition, owners.get(partition), 0, now + _GONE) for partition in self._queues]
        found = plan(self.id, members, leases, now, _GONE)
        # Of two who claimed one partition at once, one takes it back.
        doubled = tuple(p for p in mine.readers if owners[p] != self.id)
        return found._replace(give_up=(*found.give_up, *doubled))

    def _follow(self, found: Plan) -> None:
        readers, now = self._subscription.readers, self._clock.monotonic()
        for lease in found.claim:
            if lease.partition not in readers:
                queue = self._queues[lease.partition]
                reader = Reader(lease.partition, queue, self._settings.prefetch, self._subscription.ring)
                reader.on_lost = self._news.set
                self._subscription.add(reader)
        for reader in readers.values():
            is_leaving = reader.partition in found.give_up
            if is_leaving and not reader.is_leaving:
                reader.left_at = now + self._settings.grace.total_seconds()
            elif reader.is_leaving and not is_leaving:
                self._subscription.ring()
            reader.is_leaving = is_leaving

    async def _part(self) -> None:
        """Let go of what is to go elsewhere, once nothing of it is worked on, or after the grace."""
        now = self._clock.monotonic()
        leaving = [r for r in self._subscription.readers.values() if r.is_leaving]
        await self._give_up([r for r in leaving if not r.is_in_hand or now >= r.left_at])

    async def _give_up(self, readers: Sequence[Reader]) -> None:
        if readers:
            await self._return(readers, counted=True)
            for reader in readers:
                self._back.pop(reader, None)

    async def _return(self, readers: Sequence[Reader], *, counted: bool) -> None:
        """Give everything back, and write down what of it was not attempted: what nobody had in hand, or all of it."""
        try:
            await asyncio.gather(*(reader.barrier() for reader in readers))
            entries = [entry for reader in readers for entry in reader.tags.values()]
            last = {reader: max(reader.tags, default=0) for reader in readers}
            notes = self._subscription.notes
            await notes.write([entry.position for entry in entries if not counted or entry.delivery is None])
        except BrokerError:
            if counted:
                raise
            last = {}
        await asyncio.gather(*(reader.close() for reader in readers))
        for reader in readers:
            self._subscription.remove(reader)
        late = [position for reader, tag in last.items() for position in reader.came_since(tag)]
        for reader in readers:
            reader.forget()
        await self._subscription.notes.write(late)

    async def _open(self) -> None:
        """Begin to read what is ours, and go on where a channel was lost."""
        now = self._clock.monotonic()
        closed = [r for r in self._subscription.readers.values() if not r.is_reading]
        results = await asyncio.gather(*(reader.open(self._link) for reader in closed), return_exceptions=True)
        self._back.update(dict.fromkeys(closed, now + _RETURN))
        for reader, result in zip(closed, results, strict=True):
            if isinstance(result, MissingError):
                self.fail(reader.partition, str(result))
            elif isinstance(result, BaseException):
                raise result
        for reader in [reader for reader, until in self._back.items() if now >= until]:
            del self._back[reader]
            reader.forget_away()

    def fail(self, partition: Partition, why: str) -> None:
        """Nothing can be read any more: say so at the next fetch."""
        self._stop(QueueGoneError(self._group, partition, self._link.shown, why))

    def _stop(self, failure: BrokerError) -> None:
        self._subscription.failure = failure
        for reader in self._subscription.readers.values():
            reader.forget()
        self._subscription.ring()

    async def _end_holds(self) -> None:
        """Give back what nobody extended in time."""
        now, before = self._clock.monotonic(), self._looked_at
        self._looked_at = now
        if now - before > 2 * _BEAT:
            return  # the whole process stood still: let whoever works extend first
        stalled: list[Reader] = []
        for reader in self._subscription.readers.values():
            in_hand = reader.in_hand()
            late = [entry for entry in in_hand if entry.until <= now]
            if late and len(late) < len(in_hand):
                reader.put_back([entry for entry in late if reader.has(entry)], counted=True)
            elif late:
                stalled.append(reader)
        if stalled:
            logger.warning(
                "%s held messages of %s for longer than %s: whoever else is there gets them",
                self._subscription.name,
                ", ".join(f"{r.partition.topic}/{r.partition.number}" for r in stalled),
                self._settings.hold,
            )
            self._subscription.takes_part = False
            await self._give_up(stalled)
