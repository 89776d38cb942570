"""The driver behind typed calls: a connection that comes back, and channels that raise our errors.

`aio_pika` keeps the connection; channels are those of `aiormq` under it, since the classes above cost more for each
message than all the rest. Batches of messages are written and confirmed here without a task or a future for each.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Protocol, TypeVar, cast
from uuid import uuid4

import aio_pika
import aiormq
from aiormq.abc import ChannelFrame, DeliveredMessage
from aiormq.channel import Channel
from pamqp import commands
from pamqp.frame import marshal

from antiphon.brokers.rabbitmq.answers import Depth, Received, Take
from antiphon.brokers.rabbitmq.confirming import Awaited, Confirming
from antiphon.brokers.rabbitmq.names import Arguments
from antiphon.brokers.rabbitmq.server import Server
from antiphon.brokers.tls import AtOddsError, at_odds, distrust
from antiphon.errors import AccessDeniedError, BrokerError, ConnectionLostError

logger = logging.getLogger("antiphon.brokers.rabbitmq")
T = TypeVar("T")

PATIENCE = 20.0
"""Seconds after which a server that does not answer is taken for lost."""
_NAMED: aiormq.abc.FieldTable = {"connection_name": "antiphon"}
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 3.0
_NO_AMQP = aiormq.exceptions.InvalidFrameError
"""What the driver raises of a server that ends the greeting, or says what is no frame."""
_AT_ONCE = 64 * 1024
_FULL = 0.001
"""Seconds until what waits to be written to a connection is looked at again, where there is no room."""
_COMING_UP = "is down or inaccessible"
"""What is said of a queue while its server starts."""
_NO_REPLICA = "does not have a replica on the local node"
"""What is said of a stream that was made a moment ago."""


class MissingError(BrokerError):
    """There is no such queue or exchange."""


class RefusedError(BrokerError):
    """The server refuses this, now and later."""


class DeniedError(RefusedError, AccessDeniedError):
    """It does so since we are not who we should be, or may not do this."""


Awaited.unrouted = aiormq.exceptions.PublishError


class Frames(Protocol):
    """A message as bytes for a channel of that number; frames hold at most so many bytes of its data."""

    def __call__(self, channel: int, most: int, message_id: str) -> bytes: ...


class _Bare(Protocol):
    """Of the driver's channels and connections what it leaves untyped, and we use."""

    confirmations: dict[int, object]
    consumers: dict[str, object]
    write_queue: asyncio.Queue[ChannelFrame]

    @property
    def closing(self) -> asyncio.Future[object]: ...
    def create_future(self) -> asyncio.Future[None]: ...


class Lane:
    """One channel. When it is lost it stays so; `closed` says why."""

    def __init__(self, channel: Channel, where: str) -> None:
        self._channel, self._where = channel, where
        self._sending, self._writing = asyncio.Lock(), asyncio.Lock()
        self._handled = 0
        """What is to be acknowledged, with all before it, and is not yet on its way; 0 for nothing."""
        self._open: set[Confirming] = set()
        self._watchers: list[Callable[[], None]] = []
        self._reason: BrokerError | None = None
        self._is_closing = False
        self._tasks: set[asyncio.Future[None]] = set()
        self._bare = cast(_Bare, channel)
        self._bare.closing.add_done_callback(self._on_closed)

    @property
    def is_open(self) -> bool:
        # Once a close is under way nothing more may be sent: the server would end the whole connection.
        return not (self._is_closing or self._channel.is_closed or getattr(self._channel, "_close_exception", None))

    @property
    def why(self) -> str:
        """Why it was closed."""
        return str(self._told() or self._reason or self.lost("it was closed"))

    def watch(self, lost: Callable[[], None]) -> None:
        """Call this once it is closed, whoever did it."""
        self._watchers.append(lost)

    async def declare_exchange(self, name: str, kind: str) -> None:
        await self._ask(self._channel.exchange_declare(name, exchange_type=kind, durable=True))

    async def declare_queue(self, name: str, arguments: Arguments, *, exclusive: bool = False) -> Depth:
        """Make it, or see that it is there. An exclusive one goes with the connection; every other one is durable."""
        asked = self._channel.queue_declare(
            name, durable=not exclusive, exclusive=exclusive, auto_delete=exclusive, arguments=dict(arguments)
        )
        found = await self._ask(asked)
        return Depth(found.message_count or 0, found.consumer_count or 0)

    async def look(self, name: str) -> Depth:
        """Raises MissingError, and is closed then."""
        found = await self._ask(self._channel.queue_declare(name, passive=True))
        return Depth(found.message_count or 0, found.consumer_count or 0)

    async def bind(self, queue: str, exchange: str, key: str) -> None:
        await self._ask(self._channel.queue_bind(queue, exchange, key))

    async def delete_queue(self, name: str) -> None:
        await self._ask(self._channel.queue_delete(name))

    async def purge_queue(self, name: str) -> None:
        """Drop what is in it and in nobody's hands."""
        await self._ask(self._channel.queue_purge(name))

    async def delete_exchange(self, name: str) -> None:
        await self._ask(self._channel.exchange_delete(name))

    async def consume(self, queue: str, take: Take, prefetch: int, arguments: Arguments | None = None) -> None:
        """Hand each message to `take`, in order, at most so many that are not acknowledged."""
        await self.barrier(prefetch)
        await self._ask(self._channel.rpc(self._consumer(queue, take, arguments)))

    async def consume_all(self, readings: Sequence[tuple[str, Take, Arguments]], prefetch: int) -> None:
        """As `consume`, of many at once, each with a prefetch of its own; what is refused is told by a `barrier`."""
        await self.barrier(prefetch)
        asked = [self._consumer(*reading, nowait=True) for reading in readings]
        await self._write(b"".join([marshal(each, self._channel.number) for each in asked]))

    def _consumer(
        self, queue: str, take: Take, arguments: Arguments | None, *, nowait: bool = False
    ) -> commands.Basic.Consume:
        def taken(message: DeliveredMessage) -> Coroutine[object, object, None]:
            take(_received(message))  # at once, and not when the driver's task has its turn
            return _nothing()

        self._channel.on_consumer_cancel_callbacks.add(lambda _: self.close_later())  # so that whoever reads looks
        tag = uuid4().hex
        self._bare.consumers[tag] = taken
        return commands.Basic.Consume(queue=queue, consumer_tag=tag, nowait=nowait, arguments=dict(arguments or {}))

    async def get(self, queue: str) -> Received | None:
        """The first message of a queue, or None; it is held until it is acknowledged or this is closed."""
        message = await self._ask(self._channel.basic_get(queue))
        return None if isinstance(message.delivery, commands.Basic.GetEmpty) else _received(message)

    async def barrier(self, prefetch: int = 1) -> None:
        """Return when the server has taken what was sent here before."""
        await self._ask(self._channel.basic_qos(prefetch_count=prefetch))

    async def acknowledge(self, through: int, single: Sequence[int]) -> None:
        """Acknowledge all up to `through` (0 for none), and each of `single`; returns when the server has taken it."""
        number = self._channel.number.to_bytes(2, "big")
        frames = [_ack(number, through, multiple=True)] if through else []
        frames += [_ack(number, tag, multiple=False) for tag in single]
        if frames:
            await self._write(b"".join(frames))

    def acknowledge_later(self, through: int) -> None:
        """Acknowledge all up to `through`, without waiting for anything; several that come together cost one."""
        is_under_way, self._handled = self._handled > 0, through
        if not is_under_way:
            self._let_run(self._acknowledge_handled())

    async def _acknowledge_handled(self) -> None:
        through, self._handled = self._handled, 0
        await self.acknowledge(through, ())

    async def give_back(self, tag: int) -> None:
        """Let the queue have it again; where in it is not said."""
        await self._ask(self._channel.basic_nack(tag, requeue=True))

    async def drop(self, tag: int) -> None:
        """Let it be a dead letter of its queue."""
        await self._ask(self._channel.basic_nack(tag, requeue=False))

    async def publish(self, messages: Sequence[Frames], ids: Sequence[str]) -> tuple[Confirming, BrokerError | None]:
        """Return when the server has answered for each, or does not any more: then with the reason.

        `ids` are unlike all others that are under way here.
        """
        batch = Confirming(len(messages))
        self._open.add(batch)
        try:
            async with self._sending:
                await self._send(messages, ids, batch)
            async with asyncio.timeout(PATIENCE):
                await batch.done
        except TimeoutError:
            return batch, self.lost("it confirmed nothing")
        except BrokerError as error:
            return batch, self._reason or self._told() or error
        finally:
            self._open.discard(batch)
            batch.done.cancel()
        return batch, None

    async def _send(self, messages: Sequence[Frames], ids: Sequence[str], batch: Confirming) -> None:
        channel, number, most = self._channel, self._channel.number, self._channel.max_content_size
        # Each of these is answered like the driver's own future, and costs a tenth of it.
        confirmations = self._bare.confirmations
        known, parts, size = channel.message_id_delivery_tag, list[bytes](), 0
        for index, (frames, id) in enumerate(zip(messages, ids, strict=True)):
            if not self.is_open:
                raise self.lost("it is closed")
            part = frames(number, most, id)
            channel.delivery_tag = tag = channel.delivery_tag + 1
            confirmations[tag] = Awaited(batch, index, id, known)
            known[id] = tag
            parts.append(part)
            size += len(part)
            if size > _AT_ONCE:
                await self._write(b"".join(parts))
                parts, size = [], 0
        await self._write(b"".join(parts))

    async def _write(self, payload: bytes) -> None:
        """Hand bytes to the connection; returns when they are on their way, so that memory is bounded."""
        drained = self._bare.create_future()
        frame = ChannelFrame(payload=payload, should_close=False, drain_future=drained)

        async def written() -> None:
            async with self._writing:  # in the order in which they came: an earlier tag after a later one is refused
                while self._bare.write_queue.full():  # noqa: ASYNC110 - the driver's queue tells nobody that it has room
                    await asyncio.sleep(_FULL)
                if not self.is_open:  # since it was asked for: bytes behind the end of a channel end the connection
                    raise self.lost("it is closed")
                self._bare.write_queue.put_nowait(frame)
            await drained

        # What is half written cannot be taken back: the tags are counted on both sides.
        await self._ask(written())

    async def close(self) -> None:
        """Everything that it holds goes back to its place. Twice is safe."""
        if self._is_closing:
            return
        async with self._sending:
            self._is_closing = True
        with suppress(BrokerError):
            await self._answer(self._channel.close())

    def close_later(self) -> None:
        """Close it, without waiting for anything."""
        self._let_run(self.close())

    def _let_run(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.ensure_future(work)
        task.add_done_callback(_forget)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def lost(self, why: str) -> ConnectionLostError:
        return ConnectionLostError(f"the connection to {self._where} is lost ({why}); it is made again by itself")

    def _on_closed(self, closing: asyncio.Future[object]) -> None:
        error = None if closing.cancelled() else closing.exception()
        self._reason = None if error is None else translated(error, self._where)
        for batch in self._open:
            if not batch.done.done():
                batch.done.set_exception(self._reason or self.lost("it was closed"))
        for watcher in self._watchers:
            watcher()

    async def _ask(self, call: Coroutine[object, object, T]) -> T:
        """Its answer, or our error."""
        if not self.is_open:
            call.close()
            raise self._missing() or self.lost("it is closed")
        return await self._answer(call)

    async def _answer(self, call: Coroutine[object, object, T]) -> T:
        # Canceling the caller cancels nothing here: the driver would close the channel.
        asked = asyncio.ensure_future(_in_time(call))
        try:
            return await asyncio.shield(asked)
        except asyncio.CancelledError as error:
            if _is_canceled():
                asked.add_done_callback(_forget)
                raise
            raise self._missing() or self.lost("it was closed meanwhile") from error
        except TimeoutError as error:
            self._is_closing = True  # the driver closes a channel that it cannot wait for
            raise self.lost("it does not answer") from error
        except Exception as error:  # the driver raises even a bare one when a connection is lost
            raise self._missing() or translated(error, self._where) from error

    def _told(self) -> BrokerError | None:
        """Why the server closed the channel, if it did; the driver says so only a while later."""
        reason = getattr(self._channel, "_close_exception", None)
        return None if reason is None else translated(reason, self._where)

    def _missing(self) -> MissingError | None:
        """That something is not there, where the server closed the channel for that, whatever was asked next."""
        return told if isinstance(told := self._told(), MissingError) else None


async def _nothing() -> None:
    """The driver wants to wait for something."""


async def _in_time(call: Coroutine[object, object, T]) -> T:
    async with asyncio.timeout(PATIENCE):
        return await call


def _is_canceled() -> bool:
    """Whether somebody cancels the present task, and not the driver what it waits for: that one does when it closes."""
    task = asyncio.current_task()
    return task is not None and bool(task.cancelling())


def _forget(task: asyncio.Future[T]) -> None:
    if not task.cancelled():
        task.exception()


def translated(error: BaseException, where: str) -> BrokerError:
    """Our error for one of the driver's."""
    if isinstance(error, BrokerError):
        return error
    if (why := distrust(error)) is not None:
        return at_odds(where, why)
    if isinstance(error, aiormq.ChannelNotFoundEntity) and _COMING_UP not in str(error):
        return MissingError(f"{where} says: {error}")
    if isinstance(error, aiormq.ChannelAccessRefused):
        return DeniedError(f"{where} does not allow it: {error}; give the user the right to it (rabbitmqctl)")
    if isinstance(error, aiormq.exceptions.ProbableAuthenticationError | aiormq.exceptions.AuthenticationError):
        return DeniedError(f"{where} does not let us in: {error}; look at the user and the password in the URL")
    if isinstance(error, aiormq.exceptions.ConnectionNotAllowed):
        return DeniedError(f"{where} does not let us in: {error}; look at the virtual host, and who may use it")
    if isinstance(error, aiormq.ChannelPreconditionFailed) and _NO_REPLICA not in str(error):
        return RefusedError(f"{where} refuses it: {error}")
    return ConnectionLostError(f"{where} cannot be reached ({error!r}): is it running?")


def _received(message: DeliveredMessage) -> Received:
    properties = message.header.properties
    delivery = cast("commands.Basic.Deliver", message.delivery)
    at = properties.timestamp
    return Received(
        delivery.delivery_tag or 0,
        properties.headers or {},
        message.body,
        properties.content_type,
        properties.message_id,
        None if at is None else at.timestamp(),
    )


def _ack(channel: bytes, tag: int, *, multiple: bool) -> bytes:
    return b"\x01%b\x00\x00\x00\x0d\x00\x3c\x00\x50%b%b\xce" % (channel, tag.to_bytes(8, "big"), bytes([multiple]))


Restore = Callable[[], Awaitable[None]]


class Link:
    """One connection, made again whenever it is lost."""

    def __init__(self, server: Server, restore: Restore) -> None:
        self._server, self.shown, self._restore = server, server.shown, restore
        self._connection: aio_pika.abc.AbstractConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._pool: list[Lane] = []
        self._free = asyncio.Semaphore(8)
        self._trouble: BrokerError | None = None
        """Why we are not let in at the moment, or do not believe who answers."""
        self.is_up = False

    @property
    def native(self) -> object:
        return self._connection

    async def open(self) -> None:
        """Raises ConnectionLostError, DeniedError, or BrokerError where it and we do not agree on TLS."""
        try:
            await self._connect()
        except BrokerError as error:
            is_unheard = isinstance(error, ConnectionLostError) or isinstance(error.__cause__, _NO_AMQP)
            raise await self._server.why_not(error, is_unheard=is_unheard) from error.__cause__
        self._task = asyncio.create_task(self._keep(), name="antiphon rabbitmq connection")

    async def close(self) -> None:
        self.is_up = False
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        if self._connection is not None:
            with suppress(TimeoutError, aiormq.AMQPError, OSError):
                async with asyncio.timeout(PATIENCE):
                    await self._connection.close()
        self._pool.clear()

    async def lane(self, *, confirms: bool = False) -> Lane:
        """A channel of one's own; publishing needs one that confirms. Raises ConnectionLostError."""
        connection = self._connection
        transport = None if connection is None else connection.transport
        if transport is None or not self.is_up:
            raise self.away()
        try:
            async with asyncio.timeout(PATIENCE):
                channel = await transport.connection.channel(publisher_confirms=confirms)
        except asyncio.CancelledError as error:
            if _is_canceled():
                raise
            raise translated(error, self.shown) from error
        except Exception as error:
            raise translated(error, self.shown) from error
        return Lane(cast(Channel, channel), self.shown)

    def away(self) -> ConnectionLostError:
        """That it is, and why."""
        why = f"{self.shown} cannot be reached at the moment" if self._trouble is None else str(self._trouble)
        return ConnectionLostError(f"{why}; it is tried again by itself")

    async def do(self, work: Callable[[Lane], Awaitable[T]]) -> T:
        """Run this on a channel that is kept for such work; one of several at a time."""
        async with self._free:
            while self._pool and not self._pool[-1].is_open:
                self._pool.pop()
            lane = self._pool.pop() if self._pool else await self.lane()
            try:
                return await work(lane)
            finally:
                if lane.is_open:
                    self._pool.append(lane)

    def _is_alive(self) -> bool:
        transport = None if self._connection is None else self._connection.transport
        return transport is not None and not cast(_Bare, transport.connection).closing.done()

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                url, _, tls = self._server
                self._connection = await aio_pika.connect(url, ssl_context=tls, client_properties=_NAMED)
        except _NO_AMQP as error:
            raise DeniedError(
                f"{self.shown} ends the connection while it is opened: is there such a virtual host, and may the user "
                "use it? (rabbitmqctl list_permissions)"
            ) from error
        except asyncio.CancelledError as error:
            if _is_canceled():
                raise
            raise translated(error, self.shown) from error
        except Exception as error:
            raise translated(error, self.shown) from error
        self.is_up = True

    async def _keep(self) -> None:
        while self._connection is not None and self._connection.transport is not None:
            await asyncio.wait([cast(_Bare, self._connection.transport.connection).closing])
            self.is_up = False
            with suppress(Exception):  # what is lost has nothing more to say
                await self._connection.close()
            self._pool.clear()
            logger.warning("the connection to %s is lost; it is made again", self.shown)
            await self._come_back()
            logger.info("the connection to %s is there again", self.shown)

    async def _come_back(self) -> None:
        pause, told = _FIRST_PAUSE, ""
        while True:
            try:
                if not self.is_up:
                    await self._connect()
                await self._restore()
                self._trouble = None
                return
            except BrokerError as error:
                self._trouble = error if isinstance(error, AccessDeniedError | AtOddsError) else None
                if type(error).__name__ != told:  # once is enough for one outage
                    logger.warning("%s", error)
                told = type(error).__name__
                self.is_up = self.is_up and self._is_alive()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
