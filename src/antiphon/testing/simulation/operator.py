"""What happens in one step: something is published, something breaks, somebody repairs, or time passes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import NamedTuple
from uuid import UUID

from msgspec import structs

from antiphon.deadletters.dropping import drop
from antiphon.deadletters.redrive import Pace, start_redrive
from antiphon.errors import AntiphonError, DeadLetterError
from antiphon.events.message import Outgoing
from antiphon.runtime.compose import Composer
from antiphon.runtime.route import events_of
from antiphon.storage.dead_letters import StoredLetter, find
from antiphon.storage.letter_changes import Author
from antiphon.storage.letter_query import LetterQuery
from antiphon.storage.set_aside import AsideState, list_waiting, next_moment
from antiphon.testing.simulation.member import Member
from antiphon.testing.simulation.record import Entry
from antiphon.testing.simulation.troubles import Trouble
from antiphon.testing.simulation.world import World

Events = Callable[[Random], object]
"""Makes the next event, or a sequence of events that are published together, by the chance that it is given."""

_ME = "simulator"
_MOST = 1000
_UNHEARD = 30
"""Seconds after which a group takes from a member what it reads, when nothing is heard of it."""


class Act(NamedTuple):
    """Something that may happen, and how often, against all others."""

    weight: float
    do: Callable[[], Awaitable[None]]


class Operator:
    """Does one thing after the other to a world and its processes."""

    def __init__(self, world: World, members: Sequence[Member], events: Events) -> None:
        self._world, self._members, self._events = world, members, events
        self._random = world.random
        self._composer = Composer(_ME, world.clock)
        self._published: list[Outgoing] = []
        self._asked: dict[tuple[str, str], None] = {}
        """Groups and topics that were paused, even if that failed: it may be known to nobody but the store."""
        self._acts = self._possible()

    def _possible(self) -> Sequence[Act]:
        rate = self._world.weather.rate
        return (
            Act(8, self._publish),
            Act(4, self._nothing),
            Act(2, self._restart),
            Act(2 * rate(Trouble.DUPLICATE), self._publish_again),
            Act(rate(Trouble.CRASH), self._crash),
            Act(rate(Trouble.DRAIN), self._drain),
            Act(rate(Trouble.EVICTION), self._evict),
            Act(rate(Trouble.FREEZE), self._freeze),
            Act(rate(Trouble.BROKER), partial(self._begin, Trouble.BROKER)),
            Act(rate(Trouble.STORE), partial(self._begin, Trouble.STORE)),
            Act(rate(Trouble.OUTAGE), partial(self._begin, Trouble.OUTAGE)),
            Act(rate(Trouble.PAUSE), self._pause),
            Act(rate(Trouble.PAUSE), self.resume),
            Act(rate(Trouble.REDRIVE), self._redrive),
            Act(rate(Trouble.DROP) / 2, self._drop),
        )

    async def step(self) -> None:
        """Do one thing, and let the processes go on for a while."""
        (act,) = self._random.choices(self._acts, [each.weight for each in self._acts])
        try:
            await act.do()
        except AntiphonError as error:
            if not error.retryable and not isinstance(error, DeadLetterError):
                raise
            self._world.trace.note(f"in vain: {error}")
        await self._go_on()

    async def _go_on(self) -> None:
        random, draw = self._random, self._random.random()
        if draw < 0.4:
            await self._world.turns(random.randint(1, 25))
        elif draw < 0.8:
            await asyncio.sleep(random.randint(1, 100) / 1000)
        elif draw < 0.95:
            await asyncio.sleep(random.randint(1, 10) / 2)
        else:
            await asyncio.sleep(random.randint(10, 70))

    async def _nothing(self) -> None:
        """Time passes."""

    async def _publish(self) -> None:
        made = self._events(self._random)
        await self._send([self._message(event) for event in events_of(made)])

    def _message(self, event: object) -> Outgoing:
        """With an id that is the same each time."""
        topic, message = self._composer.first(event)
        id = str(UUID(int=self._random.getrandbits(128), version=4))
        return Outgoing(topic, structs.replace(message, id=id, deadline=self._deadline()))

    def _deadline(self) -> datetime | None:
        if not self._world.weather.strikes(Trouble.DEADLINE, 0.1):
            return None
        return self._world.clock.now() + timedelta(seconds=self._random.choice((0.02, 1, 20, 60)))

    async def _publish_again(self) -> None:
        if self._published:
            await self._send([self._random.choice(self._published)])

    async def _send(self, outgoing: Sequence[Outgoing]) -> None:
        labeled = self._world.record.label(outgoing)
        await self._world.broker.publish(labeled)
        self._world.published(labeled, by="somebody")
        self._published += outgoing

    def _up(self) -> list[Member]:
        return [member for member in self._members if member.is_up]

    async def _restart(self) -> None:
        down = [member for member in self._members if member.is_down]
        if down:
            self._random.choice(down).start()

    async def _crash(self) -> None:
        there = [member for member in self._members if not member.is_down]
        if there:
            member = self._random.choice(there)
            seat = member.seat
            await member.crash()
            asyncio.get_running_loop().call_later(self._random.choice((0, 0, 0.01, 5, 30)), seat.evict)

    async def _drain(self) -> None:
        if up := self._up():
            self._random.choice(up).drain()

    async def _evict(self) -> None:
        if up := self._up():
            member = self._random.choice(up)
            self._world.trace.note(f"{member} loses everything")
            member.seat.evict()

    async def _freeze(self) -> None:
        if up := self._up():
            member, seconds = self._random.choice(up), self._random.choice((0.5, 5, 40, 90))
            self._world.trace.note(f"{member} freezes for {seconds} s")
            member.seat.frozen_until = self._world.clock.monotonic() + seconds
            self._world.begin(Trouble.FREEZE, timedelta(seconds=seconds))
            if seconds > _UNHEARD:
                asyncio.get_running_loop().call_later(_UNHEARD, member.seat.evict)

    async def _begin(self, trouble: Trouble) -> None:
        duration = timedelta(seconds=self._random.choice((0.05, 0.5, 5, 20, 70)))
        self._world.trace.note(f"{trouble} for {duration.total_seconds()} s")
        self._world.begin(trouble, duration)

    async def _pause(self) -> None:
        if up := self._up():
            member = self._random.choice(up)
            service = self._random.choice(member.services)
            topic = self._random.choice(sorted({topic for topic, _ in self._world.record.sights[service.name]}))
            self._asked[service.name, topic] = None
            await service.pause(topic)
            self._world.trace.note(f"{member}: {topic} is paused in {service.name}")
            self._world.paused.add((service.name, topic))
            member.seat.stopped.paused.add((service.name, topic))

    async def resume(self) -> None:
        """Let what is paused go on, if anybody is there to say so."""
        if up := self._up():
            member = self._random.choice(up)
            for group, topic in list(self._asked):
                self._world.paused.discard((group, topic))
                for each in self._members:
                    each.seat.stopped.paused.discard((group, topic))
                await next(service for service in member.services if service.name == group).resume(topic)
                self._world.trace.note(f"{member}: {topic} goes on in {group}")
                self._asked.pop((group, topic))

    async def waiting(self) -> list[str]:
        """What was set aside and is tried again some time."""
        return [
            f"{each.group}: {self._world.record.of(each.message)} is due at {each.due_at}"
            for each in await list_waiting(self._world.store, limit=_MOST)
            if each.state is AsideState.DELAYED
        ]

    async def is_due_later(self) -> bool:
        """Whether anything is to be tried again at a moment to come."""
        return await next_moment(self._world.store, self._world.clock.now()) is not None

    async def _parked(self) -> list[StoredLetter]:
        return await find(self._world.store, LetterQuery(), _MOST)

    async def _redrive(self) -> None:
        letters = await self._parked()
        chosen = self._random.sample(letters, self._random.randint(1, len(letters))) if letters else []
        if not chosen:
            return
        cases = [self._world.record.case(each.letter.group, self._entry(each)) for each in chosen]
        for case in cases:
            case.sent_again += 1
        spacing = timedelta(seconds=self._random.choice((0, 0, 1)))
        pace = Pace(spacing=spacing, canaries=self._random.choice((0, 0, 1)))
        numbers = [each.number for each in chosen]
        self._world.trace.note(f"redrive of {', '.join(f'{each.letter.group} {self._entry(each)}' for each in chosen)}")
        await start_redrive(self._world.store, self._world.clock, numbers, pace, _ME)

    async def _drop(self) -> None:
        letters = await self._parked()
        if not letters:
            return
        chosen = self._random.choice(letters)
        entry = self._entry(chosen)
        case = self._world.record.case(chosen.letter.group, entry)
        before, case.is_dropped = case.is_dropped, True  # at once: what waits behind it may begin as soon as it is gone
        try:
            await drop(self._world.store, [chosen.number], Author(_ME, self._world.clock.now()))
        except AntiphonError:
            case.is_dropped = before
            raise
        self._world.trace.note(f"{chosen.letter.group}: {entry} is dropped")

    def _entry(self, stored: StoredLetter) -> Entry:
        return self._world.record.of(stored.letter.message)
