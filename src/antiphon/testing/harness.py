"""What does a service do with these events? It is run in memory, whole, in time that the test holds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self, TypeVar, overload

from antiphon.brokers.memory import MemoryBroker
from antiphon.errors import DecodeError, EncodeError, HandlingError, SettingsError, UsageError
from antiphon.events.amounts import show_duration
from antiphon.events.message import Message, Outgoing
from antiphon.observability.hooks import Delayed, Failed
from antiphon.runtime.compose import Composer
from antiphon.runtime.service import Service
from antiphon.runtime.settings import ServiceSettings, Settings
from antiphon.runtime.stand_ins import StandIns
from antiphon.schemas.codec import EventCodec, codec_for
from antiphon.storage.database import Database, Row, SqlValue
from antiphon.storage.dead_letters import DeadLetter, list_parked
from antiphon.storage.set_aside import AsideState, SetAside, list_waiting, next_moment
from antiphon.testing.clock import VirtualClock
from antiphon.testing.stage import Stage

T = TypeVar("T")

Fetch = Callable[..., Awaitable[object]]
_Message = tuple[str, str]
"""A service, and the id of a message that it handles."""
_SETTINGS = Settings(common=ServiceSettings(broker="memory:///"))
_FEW = 10
"""Looks at the services after which something real is waited for, such as a thread."""
_ALL = 1_000_000


class Harness:
    """Runs services in memory: give events, see what they emit and write. No file, no port, no sleep.

    ```python
    from antiphon import Key, Service, Struct, event
    from antiphon.testing import Harness


    @event(topic="orders")
    class OrderPlaced(Struct, frozen=True):
        order_id: Key[str]


    @event(topic="letters")
    class ThanksSent(Struct, frozen=True):
        order_id: Key[str]


    letters = Service("letters")


    @letters.on(OrderPlaced)
    async def thank(order: OrderPlaced) -> ThanksSent:
        return ThanksSent(order.order_id)


    async with Harness(letters) as harness:
        await harness.give(OrderPlaced("o-1"))
        assert harness.emitted == [ThanksSent("o-1")]
    ```

    It is the real path: the services' own handlers, policies, migrations and transactions, on a memory log.
    Several services that hear of each other can be given. `replace` gives values for types that a service
    provides, `fetch` functions in place of its fetchers. `patience` bounds, in real time, how long handlers may take.

    Time stands still, and so do delayed retries: with `raising`, a message that is put off for one, or parked, raises
    what its handler raised. Without it, it is in `waiting` with what waits behind it, until `advance` lets its time
    come, and in `dead_letters` once it was given up.

    What services publish is read back, which nothing does in production: with `raising`, an event whose values do not
    fit their types raises EncodeError.
    """

    def __init__(
        self,
        *services: Service,
        replace: Mapping[type, object] | None = None,
        fetch: Mapping[type, Fetch] | None = None,
        raising: bool = True,
        start: datetime | None = None,
        patience: timedelta = timedelta(seconds=10),
    ) -> None:
        if not services:
            raise UsageError("Harness() needs at least one service")
        self.services = services
        self.clock = VirtualClock(start)
        self.broker = Stage(MemoryBroker(clock=self.clock), self.clock)
        self.dead_letters: Sequence[DeadLetter] = ()
        """What is parked, each with its diagnosis, in the order in which it left the flow."""
        self.waiting: Sequence[SetAside] = ()
        """What is put off for a delayed retry, and what waits behind another of its key, in the same order."""
        self._stand_ins = StandIns(clock=self.clock, provided=replace or {}, fetchers=fetch or {})
        self._composer = Composer("harness", self.clock)
        self._raising, self._patience = raising, patience
        self._errors: dict[_Message, BaseException] = {}
        self._put_off: set[_Message] = set()
        """What was put off since it was shown last."""
        self._codecs: dict[type, EventCodec[object]] = {}
        self._checked = 0
        """How many of the events published were read back."""

    async def __aenter__(self) -> Self:
        try:
            self._check_stand_ins()
            for service in self.services:
                service.hooks.failed.watch(self._note_failure)
                service.hooks.delayed.watch(self._note_delay)
                await service.start(self.broker, _SETTINGS, self._stand_ins)
            await self._settle()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Drain and stop the services, and forget their tables. Twice is safe."""
        for service in self.services:
            await service.stop()
            service.hooks.failed.unwatch(self._note_failure)
            service.hooks.delayed.unwatch(self._note_delay)
        await self.broker.close()
        await self.broker.database.close()

    async def give(self, *events: object, key: str | None = None) -> None:
        """Publish these as somebody else would; returns when all that follows is handled and settled.

        Unless `raising` is off, raises what a handler raised whose message was put off or parked, and EncodeError where
        a service published an event with a value that does not fit its type.
        """
        await self._give([self._composer.first(event, key=key) for event in events])

    async def give_message(self, message: Message, topic: str | None = None) -> None:
        """As `give`, with an envelope of your own; the topic is that of its event, where a service declares it."""
        await self._give([Outgoing(topic or self._topic_of(message), message)])

    async def give_bytes(self, topic: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """As `give`, with bytes as another program might publish them, right or wrong."""
        await self.broker.give_bytes(topic, body, headers or {})
        await self._settle()

    def message(self, event: object) -> Message:
        """The envelope of an event, to be changed and given."""
        return self._composer.first(event).message

    async def advance(self, duration: timedelta) -> None:
        """Let time pass: whoever waits for it goes on, and what was put off is tried again when it is due.

        Returns when all that follows is settled. Raises as `give`; what succeeded in the end raises nothing.
        """
        until = self.clock.now() + duration
        while (due := await next_moment(self.store, self.clock.now())) is not None and due <= until:
            await self.clock.advance(due - self.clock.now())
            await self._come_to_rest()
        await self.clock.advance(until - self.clock.now())
        await self._settle()

    async def settle(self) -> None:
        """Return when everything published so far is settled, for what was not given here."""
        await self._settle()

    @property
    def emitted(self) -> list[object]:
        """The events that the services published, in order; as a message where none of them declares its class."""
        return [self._read(one) for one in self.broker.published]

    @property
    def emitted_messages(self) -> list[Message]:
        """The envelopes of `emitted`."""
        return [one.message for one in self.broker.published]

    def emitted_on(self, topic: str) -> list[object]:
        """Those of `emitted` that went to `topic`."""
        return [self._read(one) for one in self.broker.published if one.topic == topic]

    @property
    def store(self) -> Database:
        """The database of the services' tables, to prepare rows in."""
        return self.broker.database

    @overload
    async def fetch(self, sql: str, *args: SqlValue) -> list[Row]: ...
    @overload
    async def fetch(self, sql: str, *args: SqlValue, row: type[T]) -> list[T]: ...
    async def fetch(self, sql: str, *args: SqlValue, row: type[T] | None = None) -> list[T] | list[Row]:
        """What the services wrote, as `Transaction.fetch`."""
        return await self.store.fetch(sql, *args) if row is None else await self.store.fetch(sql, *args, row=row)

    def _check_stand_ins(self) -> None:
        given, parts = self._stand_ins, [service.part_of(self._stand_ins) for service in self.services]
        names = ", ".join(service.name for service in self.services)
        for kind in given.provided:
            if not any(kind in part.provided for part in parts):
                raise UsageError(f"replace={{{kind.__name__}: ...}}: {names} provides none; take it out")
        for event in given.fetchers:
            if not any(event in part.fetchers for part in parts):
                raise UsageError(f"fetch={{{event.__name__}: ...}}: {names} declares no fetcher of it; take it out")

    async def _give(self, outgoing: Sequence[Outgoing]) -> None:
        await self.broker.give(outgoing)
        await self._settle()

    async def _settle(self) -> None:
        await self._come_to_rest()
        await self._show()

    async def _come_to_rest(self) -> None:
        """Look until everyone is at rest and nothing was published while we looked."""
        deadline = time.monotonic() + self._patience.total_seconds()
        looks = 0
        while not await self._at_rest():
            looks += 1
            await (self.clock.rest() if looks < _FEW else asyncio.sleep(0.001))
            if time.monotonic() > deadline:
                names = ", ".join(service.name for service in self.services)
                raise HandlingError(
                    f"{names}: still busy after {self._patience} of real time; a handler that waits for the clock "
                    "goes on when a test calls advance() beside give()"
                )

    async def _at_rest(self) -> bool:
        before = len(self.broker.published)
        rests = [await service.caught_up() for service in self.services]
        return all(rests) and len(self.broker.published) == before

    async def _show(self) -> None:
        """Look at what is set aside, and raise what is new of it."""
        known = {(letter.id, len(letter.attempts)) for letter in self.dead_letters}
        self.dead_letters = await list_parked(self.store, limit=_ALL)
        self.waiting = await list_waiting(self.store, limit=_ALL)
        put_off, self._put_off = self._put_off, set()
        parked = [each for each in self.dead_letters if (each.id, len(each.attempts)) not in known]
        delayed = [each for each in self.waiting if each.state is AsideState.DELAYED and _message_of(each) in put_off]
        if self._raising:
            self._check_published()
        if self._raising and (parked or delayed):
            raise self._error_of([*parked, *delayed])

    def _error_of(self, failed: Sequence[DeadLetter | SetAside]) -> BaseException:
        """What the first of these failed with, and a note for each other."""
        first, *others = failed
        told = HandlingError(f"message {first.message.id} was {_how(first)}: {_last(first)}")
        error = self._errors.get(_message_of(first)) or self.broker.problems.get(first.message.id) or told
        if isinstance(first, SetAside) and first.due_at is not None:
            left = show_duration(first.due_at - self.clock.now())
            error.add_note(f"put off: its next attempt comes when advance() lets {left} pass")
        for other in others:
            error.add_note(f"{_how(other)}, too: {other.message.type} {other.message.id}, {_last(other)}")
        return error

    def _note_failure(self, failed: Failed) -> None:
        self._errors[failed.service, failed.message.id] = failed.error

    def _note_delay(self, delayed: Delayed) -> None:
        self._put_off.add((delayed.service, delayed.message.id))

    def _check_published(self) -> None:
        """Read back what is new of what services published, as whoever made it declares it."""
        new, self._checked = self.broker.published[self._checked :], len(self.broker.published)
        for topic, message in new:
            for service in self.services:
                codec = self._codec(service, topic, message) if service.name == message.source else None
                if codec is not None and message.data is not None:
                    _check_values(codec, message)

    def _read(self, outgoing: Outgoing) -> object:
        """The event as its publisher declares it, or else whoever reads it."""
        topic, message = outgoing
        for service in sorted(self.services, key=lambda service: service.name != message.source):
            codec = self._codec(service, topic, message)
            if codec is not None:
                return codec.read(message)
        return message

    def _codec(self, service: Service, topic: str, message: Message) -> EventCodec[object] | None:
        """How the service reads it; None where it declares no such event."""
        declared = {(each.topic, each.name): each for each in service.events()}.get((topic, message.type))
        if declared is None:
            return None
        codec = self._codecs.get(declared.cls)
        if codec is None:
            codec = self._codecs[declared.cls] = codec_for(declared.cls)
        return codec

    def _topic_of(self, message: Message) -> str:
        topics = {d.topic for service in self.services for d in service.events() if d.name == message.type}
        if len(topics) == 1:
            return topics.pop()
        found = f"on {', '.join(sorted(topics))}" if topics else "nowhere"
        raise SettingsError(
            f"no topic given for {message.type!r}, which is declared {found}: give_message(..., topic=)"
        )


def _check_values(codec: EventCodec[object], message: Message) -> None:
    try:
        codec.read(message)
    except DecodeError as error:
        raise EncodeError(
            f"service {message.source!r} published {message.type!r} with a value that its type does not allow, so that "
            f"whoever reads it would park it: {error.reason}"
        ) from error


def _message_of(failed: DeadLetter | SetAside) -> _Message:
    return failed.service, failed.message.id


def _how(failed: DeadLetter | SetAside) -> str:
    return "parked" if isinstance(failed, DeadLetter) else "put off"


def _last(failed: DeadLetter | SetAside) -> str:
    """What its last attempt failed with, or why it was given up without any."""
    return f"{failed.attempts[-1].error}: {failed.attempts[-1].text}" if failed.attempts else failed.reason
