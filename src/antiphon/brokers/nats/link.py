"""The one place that knows the driver: a connection that heals itself, and the three ways of asking JetStream."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import count
from typing import TypedDict, cast
from uuid import uuid4

import msgspec
import nats.errors
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from antiphon.brokers.nats.calls import (
    Ack,
    Acks,
    Answer,
    Answers,
    ApiError,
    Arrived,
    BatchAck,
    Call,
    Handler,
    Post,
    RefusedError,
    status_of,
)
from antiphon.brokers.tls import at_odds, distrust
from antiphon.errors import AccessDeniedError, BrokerError, ClosedError, ConnectionLostError

logger = logging.getLogger("antiphon.brokers.nats")

OLDEST = (2, 12)
"""The oldest server: batches that are kept whole came with it, reading many at once with the one before."""
_PING, _PINGS_LOST = 5, 2
"""A server that answers no ping for some ten seconds is left for another connection."""
_RECONNECT_PAUSE = 0.2
_DENIED = re.compile(r"permissions violation for (publish|subscription) to \"(.*?)\"")
_encoder, _decoder = msgspec.json.Encoder(), msgspec.json.Decoder(dict[str, object])


MessageHandler = Callable[[Msg], Awaitable[None]]


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


class _Guarded(Client):
    """A client that says nothing in the clear where TLS was asked for; the driver itself does what the server says."""

    def _connect_command(self) -> bytes:
        # It would hold the password, and comes after TLS has begun, if it has.
        if "tls" in self.options and not self._server_info.get("tls_required"):
            raise nats.errors.SecureConnWantedError
        return super()._connect_command()


class Listening:
    """Interest in one subject, until it is stopped."""

    def __init__(self, subject: str, handler: Handler, among: list[Listening]) -> None:
        self._subject, self._handler, self._among = subject, handler, among
        self._subscribed: Subscription | None = None

    async def begin(self, client: Client) -> None:
        # Its queue has no bound: what arrives was asked for, in bounds.
        self._subscribed = await client.subscribe(  # pyright: ignore[reportUnknownMemberType] - a bare Future in it
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
        self._calls: dict[str, Call] = {}
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
        login, client = self._login, _Guarded()
        failed = asyncio.Event()
        failures: list[Exception] = []

        async def on_error(error: Exception) -> None:
            if client is not self._client:
                failures.append(error)
                if len(failures) >= len(login.servers):
                    failed.set()
            self._note(error)

        connecting = asyncio.create_task(
            client.connect(
                **_said(login),
                error_cb=on_error,
                disconnected_cb=partial(self._on_disconnect, client),
                reconnected_cb=partial(self._on_reconnect, client),
                closed_cb=partial(self._on_close, client),
                reconnect_time_wait=_RECONNECT_PAUSE,  # type: ignore[arg-type] # it is only slept for
                max_reconnect_attempts=-1,
                ping_interval=_PING,
                max_outstanding_pings=_PINGS_LOST,
            )
        )
        giving_up = asyncio.create_task(failed.wait())
        try:
            await asyncio.wait({connecting, giving_up}, timeout=login.timeout, return_when=asyncio.FIRST_COMPLETED)
            if not connecting.done() or connecting.exception() is not None:
                cause = connecting.exception() if connecting.done() else (failures[-1] if failures else None)
                if isinstance(cause, ConnectionResetError | BrokenPipeError):
                    cause = await _why_it_hung_up(login) or cause
                raise _unreachable(login, cause) from cause
        finally:
            giving_up.cancel()
            if not connecting.done():
                connecting.cancel()
                await asyncio.wait({connecting})
            if connecting.cancelled() or connecting.exception() is not None:
                with suppress(AssertionError):  # that it had come as far as a server
                    await client.close()
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
        try:
            for listening in self._listeners:
                await listening.begin(client)
        except nats.errors.Error as error:
            # Closed since: a server that refuses us may say so after the greeting.
            await client.close()
            raise _unreachable(self._login, client.last_error or error) from error
        self._connected.set()

    async def _on_disconnect(self, client: Client) -> None:
        if client is not self._client:
            return
        if self._connected.is_set():
            logger.warning("the connection to %s is lost and is tried again", self.url)
        self._connected.clear()
        self._fail_all(self.lost("the connection was lost"))

    async def _on_reconnect(self, client: Client) -> None:
        self.max_payload = client.max_payload
        self._connected.set()
        logger.info("the connection to %s is back", self.url)
        for watcher in tuple(self._watchers):
            watcher()

    async def _on_close(self, client: Client) -> None:
        """The driver gave up, which it does after errors that it does not know."""
        if client is self._client and not self._is_closing and self._reopening is None:
            self._reopening = asyncio.create_task(self._reopen(), name="antiphon-nats-reopen")

    async def _reopen(self) -> None:
        while not self._is_closing:
            try:
                await self._connect()
            except BrokerError as error:
                logger.warning("%s cannot be reached again, and is tried on: %s", self.url, error)
                await asyncio.sleep(1)
                continue
            if self._client is not None and not self._client.is_closed:
                break  # of one that was closed meanwhile nobody is told
        self._reopening = None
        if self._client is not None:
            await self._on_reconnect(self._client)

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
            why = f" ({self._trouble})" if str(self._trouble or "") else ""
            raise self.lost(f"not connected for {self._login.timeout:g} s{why}") from None

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
        """One request to the API of JetStream. Raises RefusedError, ConnectionLostError."""
        subject = f"$JS.API.{name}"
        call = Answer([subject])
        async with self._calling(call) as inbox:
            await self.send(subject, b"" if body is None else _encoder.encode(body), f"{inbox}.0")
        if status_of(call.message) == "503":
            raise self.lost("JetStream does not answer: it is off for this account, or has no leader now")
        answer = _decoder.decode(call.message.data)
        error = answer.get("error")
        if isinstance(error, dict):
            found = msgspec.convert(error, ApiError)
            raise RefusedError(found.err_code or found.code, found.description)
        return answer

    async def read(self, stream: str, body: Mapping[str, object]) -> list[Arrived]:
        """Messages of a stream, by its direct reads. Raises RefusedError, ConnectionLostError.

        A message that is not there is no error: then there are fewer, or none.
        """
        subject = f"$JS.API.DIRECT.GET.{stream}"
        call = Answers([subject])
        async with self._calling(call) as inbox:
            await self.send(subject, _encoder.encode(body), f"{inbox}.0")
        if call.status == "503":
            await self.ask(f"STREAM.INFO.{stream}")  # says so, when it is not there
            raise self.lost(f"stream {stream} cannot be read now")
        if call.status not in ("204", "404"):
            raise RefusedError(int(call.status), f"stream {stream} cannot be read like this")
        return call.messages

    async def store(self, posts: Sequence[Post]) -> list[Ack]:
        """Publish all, and return each one's ack once all are there. Raises ConnectionLostError, BrokerError."""
        if not posts:
            return []
        call = Acks([post.subject for post in posts])
        async with self._calling(call) as inbox:
            for index, (subject, data, headers) in enumerate(posts):
                await self.send(subject, data, f"{inbox}.{index}", headers)
        return [ack for ack in call.acks if ack is not None]

    async def store_whole(self, posts: Sequence[Post]) -> Ack:
        """Publish all to one stream, which keeps either all or none. Raises ConnectionLostError, BrokerError."""
        call = BatchAck([posts[0].subject])
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
    async def _calling(self, call: Call) -> AsyncGenerator[str]:
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


class _Said(TypedDict):
    servers: list[str]
    name: str
    connect_timeout: int
    user: str | None
    password: str | None
    token: str | None
    user_credentials: str | None
    nkeys_seed: str | None
    tls: ssl.SSLContext | None


def _said(login: Login) -> _Said:
    """What the driver is told of where to connect, and as whom."""
    return {
        "servers": list(login.servers),
        "name": "antiphon",
        "connect_timeout": max(1, int(login.timeout / 2)),
        "user": login.user,
        "password": login.password,
        "token": login.token,
        "user_credentials": login.credentials,
        "nkeys_seed": login.nkey,
        "tls": login.tls,
    }


async def _why_it_hung_up(login: Login) -> Exception | None:
    """Its reason, if it has one, heard by logging in once more and waiting for its answer to that.

    The driver sends its first ping without waiting. A server that has hung up meanwhile answers that with a reset,
    upon which the system may forget the reason that had come before.
    """
    client = _Guarded()
    try:
        await client.connect(**_said(login), verbose=True, allow_reconnect=False, error_cb=_ignore)
    except (nats.errors.Error, OSError) as error:
        return error
    finally:
        await client.close()
    return None


async def _ignore(_: Exception) -> None:
    """It is raised as well."""


def _unreachable(login: Login, cause: BaseException | None) -> BrokerError:
    url = login.shown
    if cause is not None and (why := distrust(cause)) is not None:
        return BrokerError(str(at_odds(url, why)))
    if isinstance(cause, nats.errors.AuthorizationError) or "authorization" in str(cause).lower():
        return AccessDeniedError(f"{url} does not let us in: check user and password, token, or credentials")
    if isinstance(cause, nats.errors.SecureConnWantedError):
        return BrokerError(
            f"{url} does not ask for TLS on this port, and nothing is said in the clear: look at the port, or leave "
            "tls out (a server with allow_non_tls does not ask for it either)"
        )
    reason = str(cause) or type(cause).__name__
    if (login.credentials or login.nkey) and not isinstance(cause, nats.errors.Error | OSError | None):
        return BrokerError(
            f"{url} cannot be shown the credentials ({reason}): is the file whole, and a .creds file or the seed of an "
            "nkey?"
        )
    return ConnectionLostError(f"{url} cannot be reached ({'no answer' if cause is None else reason}): is it running?")
