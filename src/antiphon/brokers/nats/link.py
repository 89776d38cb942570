"""The one place that knows the driver: a connection that heals itself, and the three ways of asking JetStream."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import NamedTuple, Protocol, cast
from uuid import uuid4

import msgspec
import nats.errors
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from antiphon.errors import BrokerError, ClosedError, ConnectionLostError

logger = logging.getLogger("antiphon.brokers.nats")

OLDEST = (2, 12)
"""The oldest server: batches that are kept whole came with it, reading many at once with the one before."""
_PING, _PINGS_LOST = 5, 2
"""A server that answers no ping for some ten seconds is left for another connection."""
_RECONNECT_PAUSE = 0.2
_DENIED = re.compile(r"permissions violation for (publish|subscription) to \"(.*?)\"")
_encoder, _decoder = msgspec.json.Encoder(), msgspec.json.Decoder(dict[str, object])


class Arrived(Protocol):
    """A message as the driver hands it over."""

    @property
    def subject(self) -> str: ...
    @property
    def reply(self) -> str: ...
    @property
    def data(self) -> bytes: ...
    @property
    def headers(self) -> dict[str, str] | None: ...


Handler = Callable[[Arrived], Awaitable[None]]
MessageHandler = Callable[[Msg], Awaitable[None]]


class Post(NamedTuple):
    """One message to be stored."""

    subject: str
    data: bytes
    headers: dict[str, str] | None = None


class Ack(NamedTuple):
    """What the server said to one message: its place in the stream, or its reason."""

    sequence: int
    code: int = 0
    reason: str = ""
    is_duplicate: bool = False


NOBODY_LISTENS = -503
"""The code of an ack when no stream takes the subject."""
WRONG_SEQUENCE = 10071
STREAM_MISSING = 10059


class Refused(Exception):
    """The server answered with an error; whoever asked decides what that means."""

    def __init__(self, code: int, text: str) -> None:
        self.code, self.text = code, text
        super().__init__(f"{text} ({code})")


class Login(Struct, frozen=True, kw_only=True):
    """Where to connect, as whom, and how patiently."""

    servers: tuple[str, ...]
    shown: str
    """The URL without secrets."""
    user: str | None = None
    password: str | None = None
    token: str | None = None
    credentials: str | None = None
    nkey: str | None = None
    tls: ssl.SSLContext | None = None
    timeout: float = 10.0
    """Seconds that one answer may take."""


class _Call:
    """One thing asked, with an answer or many to come."""

    def __init__(self, subjects: Sequence[str] = ()) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.subjects = subjects

    def take(self, index: int, message: Arrived) -> None:
        raise NotImplementedError

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)

    def deny(self, subject: str, text: str) -> None:
        """The server forbade to publish to this subject, and never answers."""
        if any(subject == each.lower() for each in self.subjects):
            self.fail(BrokerError(f"the server does not allow it: {text}: give this user the right to publish there"))

    def finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


class _Answer(_Call):
    message: Arrived

    def take(self, index: int, message: Arrived) -> None:
        self.message = message
        self.finish()


class _Answers(_Call):
    """Messages until one with a status."""

    def __init__(self, subjects: Sequence[str]) -> None:
        super().__init__(subjects)
        self.messages: list[Arrived] = []
        self.status = ""

    def take(self, index: int, message: Arrived) -> None:
        status = status_of(message)
        if status:
            self.status = status
            self.finish()
        else:
            self.messages.append(message)


class _Acks(_Call):
    """One ack for each post; one that is denied stops the others as well."""

    def __init__(self, subjects: Sequence[str]) -> None:
        super().__init__(subjects)
        self.acks: list[Ack | None] = [None] * len(subjects)
        self._missing = len(subjects)

    def take(self, index: int, message: Arrived) -> None:
        if self.acks[index] is None:
            self.acks[index] = read_ack(message)
            self._missing -= 1
            if not self._missing:
                self.finish()


class _BatchAck(_Call):
    """The ack of the last message of a batch, or an error of the first."""

    ack = Ack(0)

    def take(self, index: int, message: Arrived) -> None:
        if not message.data and not message.headers:
            return  # the batch has begun
        self.ack = read_ack(message)
        if index or self.ack.code:
            self.finish()


class Listening:
    """Interest in one subject, until it is stopped."""

    def __init__(self, subject: str, handler: Handler, among: list[Listening]) -> None:
        self._subject, self._handler, self._among = subject, handler, among
        self._subscribed: Subscription | None = None

    async def begin(self, client: Client) -> None:
        # Its queue has no bound: what arrives was asked for, in bounds.
        self._subscribed = await client.subscribe(
            self._subject, cb=cast("MessageHandler", self._handler), pending_msgs_limit=0, pending_bytes_limit=0
        )

    async def stop(self) -> None:
        """Hand over no more. Twice is safe; without a connection nothing has to be said."""
        if self in self._among:
            self._among.remove(self)
        if (subscribed := self._subscribed) is not None:
            self._subscribed = None
            with suppress(nats.errors.Error, OSError):
                await subscribed.unsubscribe()


class Link:
    """A connection to a NATS server, or one of several; it comes back by itself, and so do its subscriptions."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._client: Client | None = None
        self._calls: dict[str, _Call] = {}
        self._numbers = count()
        self._inbox = ""
        self._listeners: list[Listening] = []
        self._connected = asyncio.Event()
        self._watchers: list[Callable[[], None]] = []
        self._reopening: asyncio.Task[None] | None = None
        self._is_closing = False
        self.max_payload = 0
        self._trouble: Exception | None = None

    @property
    def native(self) -> object:
        """The driver's client, or None before it is connected."""
        return self._client

    @property
    def url(self) -> str:
        return self._login.shown

    @property
    def is_connected(self) -> bool:
        return self._connected.is_set()

    def watch(self, on_return: Callable[[], None]) -> Callable[[], None]:
        """Call this whenever the connection is back; returns how to end that."""
        self._watchers.append(on_return)
        return lambda: self._watchers.remove(on_return)

    async def open(self) -> None:
        """Connect. Raises ConnectionLostError, or BrokerError when the server will not have us."""
        self._is_closing = False
        self._inbox = f"_INBOX.{uuid4().hex}"
        self._listeners = []
        await self.listen(f"{self._inbox}.*.*", self._route)
        try:
            await self._connect()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Twice is safe."""
        self._is_closing = True
        self._connected.clear()
        if self._reopening is not None:
            self._reopening.cancel()
            self._reopening = None
        self._fail_all(ClosedError(f"broker {self.url}", "wait for an answer"))
        if self._client is not None:
            await self._client.close()
        self._client = None
        self._listeners = []

    async def _connect(self) -> None:
        """Make a client and connect it; what listened before listens again."""
        login, client = self._login, Client()
        failed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        failures: list[Exception] = []

        async def on_error(error: Exception) -> None:
            failures.append(error)
            if not self._connected.is_set() and len(failures) >= len(login.servers) and not failed.done():
                failed.set_result(error)
            self._note(error)

        connecting = asyncio.create_task(
            client.connect(
                servers=list(login.servers),
                error_cb=on_error,
                disconnected_cb=self._on_disconnect,
                reconnected_cb=self._on_reconnect,
                closed_cb=self._on_close,
                name="antiphon",
                connect_timeout=max(1, int(login.timeout / 2)),
                reconnect_time_wait=_RECONNECT_PAUSE,  # type: ignore[arg-type] # it is only slept for
                max_reconnect_attempts=-1,
                ping_interval=_PING,
                max_outstanding_pings=_PINGS_LOST,
                user=login.user,
                password=login.password,
                token=login.token,
                user_credentials=login.credentials,
                nkeys_seed=login.nkey,
                tls=login.tls,
            )
        )
        try:
            await asyncio.wait({connecting, failed}, timeout=login.timeout, return_when=asyncio.FIRST_COMPLETED)
            if not connecting.done() or connecting.exception() is not None:
                cause = connecting.exception() if connecting.done() else (failures[-1] if failures else None)
                raise _unreachable(self.url, cause) from cause
        finally:
            if not connecting.done():
                connecting.cancel()
                with suppress(BaseException):
                    await connecting
        await self._adopt(client)

    async def _adopt(self, client: Client) -> None:
        version = client.connected_server_version
        if (version.major, version.minor) < OLDEST:
            await client.close()
            raise BrokerError(
                f"{self.url} is NATS {version}, which drops newer options in silence: "
                f"use a server of at least {OLDEST[0]}.{OLDEST[1]}"
            )
        self._client = client
        self.max_payload = client.max_payload
        for listening in self._listeners:
            await listening.begin(client)
        self._connected.set()

    async def _on_disconnect(self) -> None:
        if self._connected.is_set():
            logger.warning("the connection to %s is lost and is tried again", self.url)
        self._connected.clear()
        self._fail_all(self.lost("the connection was lost"))

    async def _on_reconnect(self) -> None:
        if self._client is not None:
            self.max_payload = self._client.max_payload
        self._connected.set()
        logger.info("the connection to %s is back", self.url)
        for watcher in tuple(self._watchers):
            watcher()

    async def _on_close(self) -> None:
        """The driver gave up, which it does after errors that it does not know."""
        if not self._is_closing and self._reopening is None:
            self._reopening = asyncio.create_task(self._reopen(), name="antiphon-nats-reopen")

    async def _reopen(self) -> None:
        while not self._is_closing:
            try:
                await self._connect()
                break
            except BrokerError as error:
                logger.warning("%s cannot be reached again, and is tried on: %s", self.url, error)
                await asyncio.sleep(1)
        self._reopening = None
        await self._on_reconnect()

    def _note(self, error: Exception) -> None:
        """What the driver tells of beside: rights that are missing concern whoever asked."""
        text = str(error)
        if denied := _DENIED.search(text):
            for call in tuple(self._calls.values()):
                call.deny(denied[2], text.removeprefix("nats: "))
            logger.error("%s: %s", self.url, text)
        elif repr(error) != repr(self._trouble):
            logger.info("%s: %r", self.url, error)
        self._trouble = error

    def lost(self, why: str) -> ConnectionLostError:
        error = ConnectionLostError(f"{self.url}: {why}; it is connected again by itself")
        error.__cause__ = self._trouble
        return error

    def _fail_all(self, error: Exception) -> None:
        for call in tuple(self._calls.values()):
            call.fail(error)

    async def until_connected(self) -> None:
        """Return when it is connected. Raises ConnectionLostError when that takes too long."""
        if self._connected.is_set():
            return
        try:
            async with asyncio.timeout(self._login.timeout):
                await self._connected.wait()
        except TimeoutError:
            raise self.lost(f"not connected for {self._login.timeout:g} s") from None

    async def listen(self, subject: str, handler: Handler) -> Listening:
        """Hand over what arrives at `subject` from now on, also after the connection was lost, until it is stopped."""
        listening = Listening(subject, handler, self._listeners)
        self._listeners.append(listening)
        if self._client is not None:
            try:
                await listening.begin(self._client)
            except nats.errors.Error as error:
                raise self.lost("it cannot be listened to") from error
        return listening

    def new_inbox(self) -> str:
        return f"{self._inbox}.{next(self._numbers)}"

    async def send(self, subject: str, data: bytes, reply: str = "", headers: dict[str, str] | None = None) -> None:
        """Send without waiting for anything but room. Raises ConnectionLostError."""
        if self._client is None:
            raise self.lost("not connected")
        try:
            await self._client.publish(subject, data, reply, headers)
        except nats.errors.MaxPayloadError as error:
            raise BrokerError(f"{self.url} takes at most {self.max_payload} bytes in one message") from error
        except (nats.errors.Error, OSError) as error:
            raise self.lost("it cannot be sent to") from error

    async def ask(self, name: str, body: Mapping[str, object] | None = None) -> dict[str, object]:
        """One request to the API of JetStream. Raises Refused, ConnectionLostError."""
        subject = f"$JS.API.{name}"
        call = _Answer([subject])
        async with self._calling(call) as inbox:
            await self.send(subject, b"" if body is None else _encoder.encode(body), f"{inbox}.0")
        if status_of(call.message) == "503":
            raise self.lost("JetStream does not answer: it is off for this account, or has no leader now")
        answer = _decoder.decode(call.message.data)
        error = answer.get("error")
        if isinstance(error, dict):
            found = msgspec.convert(error, _ApiError)
            raise Refused(found.err_code or found.code, found.description)
        return answer

    async def read(self, stream: str, body: Mapping[str, object]) -> list[Arrived]:
        """Messages of a stream, by its direct reads. Raises Refused, ConnectionLostError.

        A message that is not there is no error: then there are fewer, or none.
        """
        subject = f"$JS.API.DIRECT.GET.{stream}"
        call = _Answers([subject])
        async with self._calling(call) as inbox:
            await self.send(subject, _encoder.encode(body), f"{inbox}.0")
        if call.status == "503":
            await self.ask(f"STREAM.INFO.{stream}")  # says so, when it is not there
            raise self.lost(f"stream {stream} cannot be read now")
        if call.status not in ("204", "404"):
            raise Refused(int(call.status), f"stream {stream} cannot be read like this")
        return call.messages

    async def store(self, posts: Sequence[Post]) -> list[Ack]:
        """Publish all, and return each one's ack once all are there. Raises ConnectionLostError, BrokerError."""
        if not posts:
            return []
        call = _Acks([post.subject for post in posts])
        async with self._calling(call) as inbox:
            for index, (subject, data, headers) in enumerate(posts):
                await self.send(subject, data, f"{inbox}.{index}", headers)
        return [ack for ack in call.acks if ack is not None]

    async def store_whole(self, posts: Sequence[Post]) -> Ack:
        """Publish all to one stream, which keeps either all of them or none. Raises ConnectionLostError, BrokerError."""
        call = _BatchAck([posts[0].subject])
        last = len(posts) - 1
        async with self._calling(call) as inbox:
            batch = inbox.replace(".", "-")
            for index, (subject, data, headers) in enumerate(posts):
                reply = f"{inbox}.{index}" if index in (0, last) else ""
                marks = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(index + 1)}
                if index == last:
                    marks["Nats-Batch-Commit"] = "1"
                await self.send(subject, data, reply, marks if headers is None else headers | marks)
        return call.ack

    @asynccontextmanager
    async def _calling(self, call: _Call) -> AsyncGenerator[str]:
        """`async with`: ask in it; it ends when the answers are there."""
        if self._is_closing:
            raise ClosedError(f"broker {self.url}", "ask it")
        await self.until_connected()
        number = str(next(self._numbers))
        self._calls[number] = call
        try:
            async with asyncio.timeout(self._login.timeout):
                yield f"{self._inbox}.{number}"
                await call.done
        except TimeoutError:
            raise self.lost(f"no answer within {self._login.timeout:g} s") from None
        finally:
            del self._calls[number]
            if not call.done.done():
                call.done.cancel()
            elif not call.done.cancelled():
                call.done.exception()  # it was told, or nobody waits for it any more

    async def _route(self, message: Arrived) -> None:
        _, number, index = message.subject.rsplit(".", 2)
        call = self._calls.get(number)
        if call is not None:
            call.take(int(index), message)


class _ApiError(Struct):
    code: int = 0
    err_code: int = 0
    description: str = "unknown"


class _PubAck(Struct):
    seq: int = 0
    duplicate: bool = False
    error: _ApiError | None = None


_ack_decoder = msgspec.json.Decoder(_PubAck)


def read_ack(message: Arrived) -> Ack:
    """What the server said to a message that was to be stored."""
    if status_of(message) == "503":
        return Ack(0, NOBODY_LISTENS, "no stream takes it")
    sequence, is_duplicate, error = (found := _ack_decoder.decode(message.data)).seq, found.duplicate, found.error
    if error is None:
        return Ack(sequence, is_duplicate=is_duplicate)
    return Ack(0, error.err_code or error.code, error.description)


def status_of(message: Arrived) -> str:
    """The status of a message of the server's own; nothing when it is one of somebody's."""
    headers = message.headers
    if not headers or message.data or message.reply or "Nats-Sequence" in headers:
        return ""
    return headers.get("Status", "")


def _unreachable(url: str, cause: BaseException | None) -> BrokerError:
    if isinstance(cause, nats.errors.AuthorizationError) or "authorization" in str(cause).lower():
        return BrokerError(f"{url} does not let us in: check user and password, token, or credentials")
    reason = str(cause) or type(cause).__name__
    return ConnectionLostError(f"{url} cannot be reached ({'no answer' if cause is None else reason}): is it running?")


