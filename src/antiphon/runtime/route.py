"""One handler, compiled at start: decoder, call path and instruments, so that nothing is looked up later."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Literal, cast

from msgspec import Struct

from antiphon.brokers.ports import Delivery
from antiphon.errors import HandlingError
from antiphon.events.message import Message
from antiphon.resilience import Breaker, RateLimit, Retry
from antiphon.runtime.asking import Asker
from antiphon.runtime.gate import Gate
from antiphon.runtime.instruments import HandlerInstruments
from antiphon.runtime.publisher import HandlerPublisher, Publisher
from antiphon.runtime.signature import Shape, Signature
from antiphon.schemas.codec import EventCodec
from antiphon.storage.database import Transaction
from antiphon.storage.sessions import Sessions

log = logging.getLogger("antiphon.runtime")

MOST_EMITTED = 10_000
"""A handler that yields more than this on one message is stopped: what it emits is kept until it ends."""

Newer = Literal["pause", "park", "accept"]


class Mode(StrEnum):
    """How a route's deliveries are run."""

    AWAIT = "await"
    THREAD = "thread"
    SHARED = "shared transaction"
    OWN = "own transaction"
    SESSION = "session's transaction"


_TRANSACTED = (Mode.SHARED, Mode.OWN, Mode.SESSION)


class HandlerOptions(Struct, frozen=True, kw_only=True):
    """What `on` and `on_batch` were told besides the events."""

    policy: Retry | None = None
    guarantee: str | None = None
    transaction: Literal["shared", "own"] = "shared"
    newer: Newer = "pause"
    publishes: tuple[type, ...] = ()
    ordered: bool = True
    batch_size: int | None = None
    batch_wait: timedelta = timedelta(0)
    takes_tombstones: bool = False
    settles_first: bool = False
    once_by: str | None = None
    answers: bool = False
    breaker: Breaker | None = None
    limit: RateLimit | None = None


class Handler(Struct, frozen=True):
    """A handler as it was declared; nothing is resolved yet."""

    name: str
    function: Callable[..., object]
    signature: Signature
    options: HandlerOptions
    is_surrounded: bool = False
    """Whether it runs in a transaction of the service's sessions without asking for one."""

    @property
    def mode(self) -> Mode:
        if self.is_surrounded or self.signature.needs.session is not None:
            return Mode.SESSION
        if self.signature.needs.transaction:
            return Mode.OWN if self.options.transaction == "own" else Mode.SHARED
        return Mode.AWAIT if self.signature.shape in (Shape.ASYNC, Shape.ASYNC_GENERATOR) else Mode.THREAD

    @property
    def reply(self) -> type | None:
        """The event that it replies with, where it answers requests."""
        return self.signature.emits[0] if self.options.answers else None

    @property
    def emits(self) -> tuple[type, ...]:
        if self.options.answers:
            return self.options.publishes
        return (*self.signature.emits, *(kind for kind in self.options.publishes if kind not in self.signature.emits))


PlainCaller = Callable[[Callable[[], object]], Awaitable[object]]


class Given(Struct):
    """What one attempt can be given besides its event."""

    delivery: Delivery
    transaction: Transaction | None = None
    publisher: HandlerPublisher | None = None
    details: object = None
    session: object = None
    asker: Asker | None = None
    call: PlainCaller = asyncio.to_thread
    """Calls a plain function in the thread where it belongs."""

    def end(self) -> None:
        """The attempt is over; its publisher takes no more."""
        if self.publisher is not None:
            self.publisher.close()


Call = Callable[[object, Given], object]
"""Takes the event (or the list of a batch) and what is given; returns what the handler function returns."""

Fetcher = Callable[[object], Awaitable[object]]


class Route:
    """The compiled path of one event class to its handler. `direct` is there when it takes nothing but its event."""

    with_watermark = False
    """Whether what it returns leaves in the broker's transaction that moves the watermark past what it handled."""

    def __init__(
        self,
        handler: Handler,
        codec: EventCodec[object],
        call: Call,
        instruments: HandlerInstruments,
        policy: Retry,
        fetcher: Fetcher | None = None,
        middleware: bool = False,
    ) -> None:
        options = handler.options
        self.handler = handler
        self.name = handler.name
        self.codec = codec
        self.label = codec.declaration.name
        self.version = codec.declaration.version
        self.decode = codec.decode
        self.call = call
        self.instruments = instruments
        self.policy = policy
        self.fetcher = fetcher
        self.middleware = middleware
        self.shape = handler.signature.shape
        self.mode = handler.mode
        self.newer = options.newer
        self.takes_tombstones = options.takes_tombstones
        self.allowed = handler.emits
        self.publishes = bool(handler.signature.needs.of(Publisher))
        self.asks = bool(handler.signature.needs.of(Asker))
        self.reply = handler.reply
        self.settles_first = options.settles_first
        self.once_by = options.once_by
        """The field of which each value is handled once, where that is not the message."""
        self.batch_size = options.batch_size
        self.batch_wait = options.batch_wait
        self.sessions: Sessions | None = None
        """Where its handler's session comes from, where it has one."""
        self.waits = 0
        self.ordered = options.ordered
        """Whether what follows a failed message of its key waits behind that."""
        self.gate: Gate | None = None
        """What may stop its topic, where a breaker or a rate limit is declared."""
        self.by_key = options.ordered
        """Whether its lane is that of the key."""
        self.by_partition = False
        """Whether its lane is that of the partition: a batch handler reads this topic, too."""
        self.company: object = self.mode if self.mode in _TRANSACTED else self
        """Routes of one company can run together: they share a transaction, or are one and the same."""
        self.direct = self._direct(handler)

    def found_waiting(self) -> None:
        """Called when a handler in a shared transaction waits for something else; says so the first time."""
        self.waits += 1
        if self.waits == 1:
            log.warning(
                "%s waits for something else while it holds a transaction that others need: do that before its "
                "first statement and declare transaction='own', or declare a fetcher",
                self.name,
            )

    def _direct(self, handler: Handler) -> Callable[[object], Awaitable[object]] | None:
        """The handler function itself, where nothing stands between it and its event."""
        alone = not handler.signature.needs.parameters and self.fetcher is None and not self.middleware
        if alone and self.shape is Shape.ASYNC and self.batch_size is None:
            return cast(Callable[[object], Awaitable[object]], handler.function)
        return None


_FROM_GIVEN: Mapping[type, Callable[[Given], object]] = {
    Message: lambda given: given.delivery.message,
    Delivery: lambda given: given.delivery,
    Transaction: lambda given: given.transaction,
    Publisher: lambda given: given.publisher,
    Asker: lambda given: given.asker,
}


def compile_call(handler: Handler, dependencies: Mapping[type, object], details: type | None) -> Call:
    """The call path of a handler: its own dependencies bound, the rest taken from `Given`."""
    function, session = handler.function, handler.signature.needs.session
    fixed = {
        name: dependencies[kind]
        for name, kind in handler.signature.needs.parameters
        if kind not in _FROM_GIVEN and kind is not details and kind is not session
    }
    taken: list[tuple[str, Callable[[Given], object]]] = []
    for name, kind in handler.signature.needs.parameters:
        if kind is details:
            taken.append((name, lambda given: given.details))
        elif kind is session:
            taken.append((name, lambda given: given.session))
        elif kind in _FROM_GIVEN:
            taken.append((name, _FROM_GIVEN[kind]))
    if not taken:
        return (lambda event, _: function(event, **fixed)) if fixed else (lambda event, _: function(event))
    if [name for name, _ in taken] == list(handler.signature.needs.of(Transaction)):
        name = taken[0][0]
        return lambda event, given: function(event, **{name: given.transaction}, **fixed)
    return lambda event, given: function(event, **{name: take(given) for name, take in taken}, **fixed)


async def collect(result: object, shape: Shape) -> object:
    """What a call gave, in hand: awaited, or gathered from its generator."""
    if shape is Shape.ASYNC:
        return await cast(Awaitable[object], result)
    if shape is Shape.ASYNC_GENERATOR:
        found: list[object] = []
        async for event in cast(AsyncIterable[object], result):
            found.append(event)
            _check_count(found)
        return found
    return result


def gathered(events: Iterable[object]) -> list[object]:
    """What a generator yields, in hand."""
    found: list[object] = []
    for event in events:
        found.append(event)
        _check_count(found)
    return found


def call_plain(call: Call, shape: Shape, event: object, given: Given) -> object:
    """Call a plain function or generator here, in whatever thread this is."""
    result = call(event, given)
    if shape is Shape.GENERATOR:
        return gathered(cast(Iterable[object], result))
    return result


def _check_count(found: list[object]) -> None:
    if len(found) > MOST_EMITTED:
        raise HandlingError(f"a handler emitted more than {MOST_EMITTED} events on one message: split the work")


_MANY = (list, tuple)


def events_of(result: object) -> tuple[object, ...]:
    """The events in a handler's result: none, one, or many."""
    if result is None:
        return ()
    if isinstance(result, _MANY):
        return tuple(cast(Iterable[object], result))
    return (result,)
