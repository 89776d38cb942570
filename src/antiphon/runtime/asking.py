"""The asker's side: requests, each with a deadline, and the one reply box to which their replies come."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self, TypeVar, cast
from uuid import uuid4

from msgspec import structs

from antiphon.brokers.ports import Broker, ReplyBox
from antiphon.brokers.reply_topics import REPLY_TO, replying
from antiphon.errors import (
    AskError,
    BrokerError,
    ClosedError,
    NoReplyError,
    NoResponderError,
    RequestFailedError,
    StoreError,
    UsageError,
)
from antiphon.events.clock import Clock, SystemClock
from antiphon.events.declare import declaration_of
from antiphon.events.message import Message, Outgoing
from antiphon.observability import names
from antiphon.observability.metrics import Metrics
from antiphon.runtime.compose import Composer
from antiphon.runtime.readers import Readers
from antiphon.runtime.request_failed import FAILED, RequestFailed
from antiphon.schemas.codec import EventCodec, codec_for

T = TypeVar("T")
log = logging.getLogger("antiphon.runtime")

MOST_OPEN = 10_000
"""So many requests of one asker wait for replies at once; more wait for those."""
_WAIT = timedelta(seconds=1)
_LINGER = timedelta(seconds=10)
"""For so long after the last request its late reply is looked for; one that comes later is counted with the next."""
_PAUSE, _LONGEST_PAUSE = timedelta(milliseconds=50), timedelta(seconds=5)

Publish = Callable[[Sequence[Outgoing]], Awaitable[None]]
Compose = Callable[[object, str | None, datetime], Outgoing]
"""Makes a request of an event, with the key in place of its own where there is one, and a deadline."""


class _Progress:
    """How far one request came."""

    def __init__(self) -> None:
        self.state = "could not be sent"


class Asking:
    """What all askers of one name share in a process: their reply box, and who waits for what."""

    def __init__(self, broker: Broker, name: str, clock: Clock, metrics: Metrics, publish: Publish) -> None:
        self.name, self.clock, self._broker, self._metrics = name, clock, broker, metrics
        self._publish = publish
        self._box: ReplyBox | None = None
        self._reading: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()
        self._is_closed = False
        self._waiting: dict[str, asyncio.Future[Message]] = {}
        """By the id of the request."""
        self._wanted = asyncio.Event()
        self._last = clock.monotonic()
        """When the latest request ended."""
        self._room = asyncio.Semaphore(MOST_OPEN)
        self._readers = Readers(broker, clock)
        self._codecs: dict[type, EventCodec[object]] = {}
        self._late = metrics.counter(names.REPLIES_LATE)
        metrics.gauge(names.ASKS_OPEN).follow(self._waiting.__len__)

    def codec(self, reply: type[T]) -> EventCodec[T]:
        """How a reply is read. Raises DeclarationError for a class that is no event."""
        declaration_of(reply)
        found = self._codecs.get(reply)
        if found is None:
            found = self._codecs[reply] = cast("EventCodec[object]", codec_for(reply))
        return cast("EventCodec[T]", found)

    async def open(self) -> None:
        """Take replies from now on. Twice is safe. Raises what opening a reply box raises, ClosedError once closed."""
        await self._opened()

    async def _opened(self) -> ReplyBox:
        if self._is_closed:
            raise ClosedError(f"asker {self.name!r}", "ask")
        async with self._opening:
            if self._box is None:
                self._box = await replying(self._broker).open_reply_box(self.name)
                self._reading = asyncio.create_task(self._read(self._box), name=f"antiphon replies to {self.name}")
            return self._box

    async def close(self) -> None:
        """Take no more replies; whoever still waits gets ClosedError. Twice is safe."""
        self._is_closed = True
        self._fail_all(ClosedError(f"asker {self.name!r}", "wait for a reply"))
        async with self._opening:
            reading, box, self._reading, self._box = self._reading, self._box, None, None
        if reading is not None:
            reading.cancel()
            await asyncio.wait({reading})
        if box is not None:
            await self._close_box(box)

    async def _close_box(self, box: ReplyBox) -> None:
        try:
            await box.close()
        except (BrokerError, StoreError, ClosedError) as error:
            log.warning("the reply box of %s could not be closed: %s", self.name, error)

    async def ask(self, compose: Compose, request: object, key: str | None, within: timedelta) -> Message:
        """Publish a request, and return its reply. Raises as `Asker.ask`, but for what reading the reply raises."""
        _check_within(within)
        outgoing = compose(request, key, self.clock.now() + within)
        progress, began = _Progress(), self.clock.monotonic()
        try:
            reply = await in_time(self.clock, self._left(outgoing, within), self._exchange(outgoing, progress))
            if reply.type == FAILED:
                failure = self.codec(RequestFailed).read(reply)
                raise RequestFailedError(
                    outgoing.message.type, outgoing.message.id, reply.source, failure.error, failure.text
                )
        except TimeoutError:
            error = await self._explained(outgoing, within, progress)
            self._count_failed(outgoing.topic, error)
            raise error from None
        except RequestFailedError as error:
            self._count_failed(outgoing.topic, error)
            raise
        self._metrics.histogram(names.ASK_DURATION, topic=outgoing.topic).observe(self.clock.monotonic() - began)
        return reply

    def _left(self, outgoing: Outgoing, within: timedelta) -> timedelta:
        """How long to wait: no longer than whoever caused it has time."""
        deadline = outgoing.message.deadline
        return within if deadline is None else max(timedelta(), min(within, deadline - self.clock.now()))

    async def _exchange(self, outgoing: Outgoing, progress: _Progress) -> Message:
        box = await self._opened()
        async with self._room:
            waiting: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
            self._waiting[outgoing.message.id] = waiting
            self._wanted.set()
            try:
                await self._publish((_addressed(outgoing, box.address),))
                progress.state = "got no reply"
                return await waiting
            finally:
                del self._waiting[outgoing.message.id]
                self._last = self.clock.monotonic()

    async def _explained(self, outgoing: Outgoing, within: timedelta, progress: _Progress) -> AskError:
        topic, message = outgoing
        readers = await self._readers.of(topic)
        if readers is not None and not readers and progress.state == "got no reply":
            return NoResponderError(message.type, message.id, topic, within)
        return NoReplyError(message.type, message.id, topic, within, readers or None, progress.state)

    def _count_failed(self, topic: str, error: AskError) -> None:
        self._metrics.counter(names.ASK_FAILURES, topic=topic, error=type(error).__name__).inc()

    async def _read(self, box: ReplyBox) -> None:
        """Go on until canceled, or until the broker is closed: then nothing comes any more.

        Without requests it looks for late replies for a while, and then for nothing.
        """
        pause, told = _PAUSE, ""
        while True:
            if not self._waiting and self.clock.monotonic() > self._last + _LINGER.total_seconds():
                self._wanted.clear()
                await self._wanted.wait()
            try:
                arrived = await box.fetch(_WAIT)
            except ClosedError:
                await self._give_up(box)
                return
            except (BrokerError, StoreError) as error:
                if str(error) != told:
                    log.warning("replies to %s cannot be read, which is tried again: %s", self.name, error)
                told = str(error)
                await self.clock.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
                continue
            pause, told = _PAUSE, ""
            for message in arrived:
                self._take(message)

    async def _give_up(self, box: ReplyBox) -> None:
        """The broker was closed before its asker. Whoever asks once it is open again has another box."""
        self._box = self._reading = None
        self._fail_all(ClosedError(f"broker {self._broker.url}", "wait for a reply"))
        await self._close_box(box)

    def _fail_all(self, error: ClosedError) -> None:
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(error)

    def _take(self, reply: Message) -> None:
        """Hand a reply to whoever waits for it. Nobody does any more: it is late, or a second one."""
        waiting = self._waiting.get(reply.causation_id or "")
        if waiting is None or waiting.done():
            self._late.inc()
        else:
            waiting.set_result(reply)


class Asker:
    """Asks others, over the topics of their requests, and waits for what they reply.

    `name` says who asks: whose message a request is, and to whom replies go. The broker is opened, and stays open. A
    handler gets one by annotating a parameter `Asker`; `Service.asker()` is one for the application. Many tasks may ask
    at once.
    """

    def __init__(
        self, broker: Broker, *, name: str, clock: Clock | None = None, metrics: Metrics | None = None
    ) -> None:
        """Raises UsageError for a name that no reply topic can have."""
        if not name or not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or not name.isascii():
            raise UsageError(f"asker name {name!r}: use letters, digits, '-', '_' and '.'")
        clock = clock or SystemClock()
        composer = Composer(name, clock)
        self._asking = Asking(broker, name, clock, metrics or Metrics(service=name), broker.publish)
        self._compose: Compose = lambda event, key, deadline: composer.first(event, key=key, deadline=deadline)

    async def ask(self, request: object, reply: type[T], *, within: timedelta, key: str | None = None) -> T:
        """Publish `request`, an event, and return its reply, an event of class `reply`, if it comes `within` that time.

        The request has that deadline: who finds it later drops it. In a handler it inherits what an emitted event
        would, an earlier deadline as well. Each call asks anew. Canceling forgets the request, which may be handled all
        the same.

        Raises NoResponderError and NoReplyError, at most two seconds after `within`; RequestFailedError where the
        responder gave it up; DecodeError or NewerVersionError for a reply that is no such event; PublishError and
        ConnectionLostError where it could not be sent; UsageError, ClosedError.
        """
        codec = self._asking.codec(reply)
        return codec.read(await self._asking.ask(self._compose, request, key, within))

    async def ask_message(self, request: object, *, within: timedelta, key: str | None = None) -> Message:
        """As `ask`, for whoever does not know the reply's class: its message, unread."""
        return await self._asking.ask(self._compose, request, key, within)

    async def __aenter__(self) -> Self:
        await self._asking.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._asking.close()


class SharedAsker(Asker):
    """One that shares its reply box with others, whoever closes that, and makes its requests in a way of its own."""

    def __init__(self, asking: Asking, compose: Compose) -> None:
        self._asking, self._compose = asking, compose

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The others go on."""


def asker_of(asking: Asking, composer: Composer) -> Asker:
    """One for the application around a service."""
    return SharedAsker(asking, lambda event, key, deadline: composer.first(event, key=key, deadline=deadline))


def handler_asker(asking: Asking, composer: Composer, cause: Message, handler: str) -> Asker:
    """One for an attempt of a handler, whose requests are caused by what it handles.

    Unlike what it emits, they have new ids in each attempt: a responder that knew one again would not reply twice.
    """

    def compose(event: object, key: str | None, deadline: datetime) -> Outgoing:
        return composer.caused(event, cause, f"{handler} asks {uuid4().hex}", 0, key=key, deadline=deadline)

    return SharedAsker(asking, compose)


def _addressed(outgoing: Outgoing, address: str) -> Outgoing:
    extensions = {**outgoing.message.extensions, REPLY_TO: address}
    return outgoing._replace(message=structs.replace(outgoing.message, extensions=extensions))


def _check_within(within: timedelta) -> None:
    # Callers without a type checker pass seconds.
    if not isinstance(cast("object", within), timedelta) or within <= timedelta():
        raise UsageError(f"ask(within={within!r}): it is how long to wait, as in within=timedelta(seconds=2)")


async def in_time(clock: Clock, within: timedelta, work: Coroutine[object, object, T]) -> T:
    """What `work` returns or raises. Raises TimeoutError, with the work canceled, once `within` is over by `clock`."""
    task = asyncio.ensure_future(work)
    timer = asyncio.ensure_future(clock.sleep(within))
    try:
        await asyncio.wait({task, timer}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise TimeoutError
        return task.result()
    finally:
        timer.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
