"""The only file that knows redis-py: connections, their errors, and what they send and receive, with types."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from asyncio import IncompleteReadError, StreamReader
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol, TypeVar, cast

from msgspec import Struct
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import Connection, DefaultParser, SSLConnection
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import TimeoutError as TooLate
from redis.utils import HIREDIS_AVAILABLE

from antiphon.brokers.redis.resp import NOTHING, Arg, Reply, ReplyReader, pack
from antiphon.brokers.tls import at_odds, distrust, final
from antiphon.errors import (
    AccessDeniedError,
    AntiphonError,
    BrokerError,
    ClosedError,
    ConnectionLostError,
    DataLostError,
    StoreFullError,
)

_NO_LOGIN = (AuthenticationError, AuthorizationError)
_NOT_NOW = (ReadOnlyError, MasterDownError, ClusterDownError, TryAgainError, BusyLoadingError)
_READ_AT_ONCE = 1 << 18
_SENT_AT_ONCE = 1 << 16
_LONGEST_SILENCE = 5.0
"""Seconds after which a connection that only listens is tried."""
T = TypeVar("T")


Native = Redis
"""The driver's client."""


class NotLetInError(ConnectionLostError):
    """A login was refused. It passes where credentials are being renewed; who opens a broker makes it a final one."""


class Endpoint(Struct, frozen=True):
    """Where a server is and how it lets us in. `url` has no secrets; `timeout` is in seconds."""

    url: str
    host: str
    port: int
    database: int
    user: str | None
    password: str | None
    tls: ssl.SSLContext | None
    timeout: float


class _Connected(Protocol):
    """What a parser is told of its connection."""

    @property
    def _reader(self) -> StreamReader | None: ...


class FastParser:
    """Reads replies for redis-py in one sweep; its own parser awaits twice for each string, which costs most of a read.

    It is only used without `hiredis`, whose parser is faster still.
    """

    def __init__(self, socket_read_size: int) -> None:
        self._stream: StreamReader | None = None
        self._replies = ReplyReader(_error)

    def on_connect(self, connection: _Connected) -> None:
        self._stream = connection._reader  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # as the driver's parsers do
        self._replies = ReplyReader(_error)

    def on_disconnect(self) -> None:
        self._stream = None

    async def can_read(self) -> bool:
        """Whether there is something unexpected to read, or the server hung up."""
        stream = self._stream
        return stream is not None and (not self._replies.is_empty or stream.at_eof())

    async def read_response(self, disable_decoding: bool = True) -> Reply:
        replies, stream = self._replies, self._stream
        if stream is None:
            raise Disconnected("the connection is closed")
        while (reply := replies.take()) is NOTHING:
            try:
                missing = replies.missing
                data = await (stream.readexactly(missing) if missing > _SENT_AT_ONCE else stream.read(_READ_AT_ONCE))
            except IncompleteReadError:
                data = b""
            if not data:
                raise Disconnected("the server closed the connection")
            replies.feed(data)
        if isinstance(reply, Disconnected):
            raise reply
        return reply


def _error(text: str) -> Exception:
    # The driver knows which class each code of the server's means.
    error: Exception = DefaultParser.parse_error(text)  # type: ignore[no-untyped-call]  # the driver has no type for it
    return error


class Link:
    """One connection, made at its first use and again after a fault. One task asks at a time."""

    def __init__(self, endpoint: Endpoint, *, patience: float = 0.0) -> None:
        self._endpoint = endpoint
        self._timeout = endpoint.timeout + patience
        self._connection = _connection(endpoint)

    async def ask(self, *commands: Sequence[Arg]) -> list[Reply]:
        """Send these at once; returns a reply to each. Raises the first error, when all replies are read.

        Canceling closes the connection, since what comes on it then is no longer known. Raises ConnectionLostError,
        AccessDeniedError, StoreFullError, DataLostError, BrokerError.
        """
        return await self.send([pack(command) for command in commands], len(commands))

    async def send(self, packed: Sequence[bytes], count: int) -> list[Reply]:
        """As `ask`, of commands that are written already."""
        try:
            async with asyncio.timeout(self._timeout):
                replies = await self._exchange(packed, count)
        except (RedisError, OSError, ValueError) as error:
            await self.close()
            raise translated(error, self._endpoint) from error
        except BaseException:
            await self.close()
            raise
        for reply in replies:
            if isinstance(reply, ResponseError):
                if isinstance(reply, ReadOnlyError):
                    await self.close()  # it was the primary; whoever is now answers at the next attempt
                raise translated(reply, self._endpoint) from reply
        return replies

    async def _exchange(self, packed: Sequence[bytes], count: int) -> list[Reply]:
        connection = self._connection
        if connection.is_connected and await connection.can_read():
            await _hang_up(connection)
        await connection.send_packed_command(packed)
        replies: list[Reply] = []
        for _ in range(count):
            try:
                replies.append(cast("Reply", await connection.read_response(disable_decoding=True)))
            except ResponseError as error:
                replies.append(error)
        return replies

    async def close(self) -> None:
        """Hang up; it connects again when it is used again. Twice is safe."""
        await _hang_up(self._connection)


class Hearing:
    """A connection that listens to one channel of the server's. One task hears."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._connection = _connection(endpoint)

    async def begin(self, channel: str) -> None:
        """Return when the server sends what is published on it. Does nothing where it does so already.

        Raises ConnectionLostError, AccessDeniedError, BrokerError.
        """
        if self._connection.is_connected:
            return
        await self._answered(self._subscribe(channel))

    async def _subscribe(self, channel: str) -> None:
        await self._connection.send_packed_command([pack(("SUBSCRIBE", channel))])
        await self._connection.read_response(disable_decoding=True)

    async def next(self) -> bytes:
        """The next message. A server that is silent is pinged. Raises as `begin`; then it has to begin again."""
        while True:
            try:
                async with asyncio.timeout(_LONGEST_SILENCE):
                    pushed = await self._pushed()
            except TimeoutError:
                pushed = await self._answered(self._ping())
            if as_list(pushed)[:1] == [b"message"]:
                return cast("bytes", as_list(pushed)[2])

    async def _ping(self) -> Reply:
        await self._connection.send_packed_command([pack(("PING",))])
        return await self._pushed()

    async def _pushed(self) -> Reply:
        try:
            return cast("Reply", await self._connection.read_response(disable_decoding=True))
        except (RedisError, OSError, ValueError) as error:
            await self.close()
            raise translated(error, self._endpoint) from error

    async def _answered(self, work: Coroutine[object, object, T]) -> T:
        try:
            async with asyncio.timeout(self._endpoint.timeout):
                return await work
        except (RedisError, OSError, ValueError) as error:
            await self.close()
            raise translated(error, self._endpoint) from error
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Hang up; it connects again when it begins again. Twice is safe."""
        await _hang_up(self._connection)


class Links:
    """Some connections for many tasks: each request takes one, or waits for one."""

    def __init__(self, endpoint: Endpoint, most: int) -> None:
        self._endpoint, self._most = endpoint, most
        self._free: list[Link] = []
        self._turns = asyncio.Semaphore(most)
        self._is_closed = False

    async def ask(self, *commands: Sequence[Arg]) -> list[Reply]:
        """As `Link.ask`."""
        return await self.send([pack(command) for command in commands], len(commands))

    async def send(self, packed: Sequence[bytes], count: int) -> list[Reply]:
        """As `Link.send`."""
        async with self._turns:
            if self._is_closed:
                raise ClosedError(f"broker {self._endpoint.url}", "ask its server")
            link = self._free.pop() if self._free else Link(self._endpoint)
            try:
                return await link.send(packed, count)
            finally:
                self._free.append(link)

    async def close(self) -> None:
        """Wait for what is under way, then hang up. Twice is safe."""
        self._is_closed = True
        for _ in range(self._most):
            await self._turns.acquire()
        for link in self._free:
            await link.close()
        for _ in range(self._most):
            self._turns.release()

    def reopen(self) -> None:
        """Take requests again."""
        self._is_closed = False


def native_client(endpoint: Endpoint) -> Native:
    """The driver's own client of the same server; it connects when it is used."""
    pool = ConnectionPool(connection_class=_kind(endpoint), **_arguments(endpoint, endpoint.timeout))
    return Redis(connection_pool=pool)


class _Guarded(SSLConnection):
    """One whose TLS is ours: the driver's own believes the system's authorities beside the one that is named."""

    def __init__(self, *, ours: ssl.SSLContext, **arguments: Any) -> None:  # noqa: ANN401 - they are the driver's
        super().__init__(**arguments)  # pyright: ignore[reportUnknownMemberType]  # the driver has no types for it
        self.ssl_context.context = ours

    def abort(self) -> None:
        """Hang up without a farewell: TLS would wait for the server's, when nobody waits for us."""
        if self._writer is not None:
            self._writer.transport.abort()


async def _hang_up(connection: Connection) -> None:
    if isinstance(connection, _Guarded):
        connection.abort()
    with contextlib.suppress(RedisError, OSError):
        await connection.disconnect(nowait=True)


def _kind(endpoint: Endpoint) -> type[Connection]:
    return Connection if endpoint.tls is None else _Guarded


def _arguments(endpoint: Endpoint, timeout: float | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "host": endpoint.host,
        "port": endpoint.port,
        "db": endpoint.database,
        "username": endpoint.user,
        "password": endpoint.password,
        "socket_timeout": timeout,
        "socket_connect_timeout": endpoint.timeout,
        "socket_keepalive": True,
        "protocol": 2,
        "client_name": "antiphon",
    }
    if endpoint.tls is not None:
        found["ours"] = endpoint.tls
    return found


def _connection(endpoint: Endpoint) -> Connection:
    # Its timeouts make a task for each write, which in Python 3.11 may swallow a cancellation: `Link` has its own.
    arguments = _arguments(endpoint, None)
    if not HIREDIS_AVAILABLE:
        arguments["parser_class"] = FastParser
    return _kind(endpoint)(**arguments)


def translated(error: Exception, endpoint: Endpoint) -> AntiphonError:
    """Our error for one of the driver's or the server's."""
    url, text = endpoint.url, str(error) or type(error).__name__
    code = text.partition(" ")[0]  # the driver takes it off where it has a class for it
    user = endpoint.user or "the default user"
    if isinstance(error, _NO_LOGIN) or code in ("NOAUTH", "WRONGPASS"):
        return NotLetInError(
            f"{url} does not let {user} in ({text}): mend the user or the password, there or in the URL"
        )
    if isinstance(error, NoPermissionError) or code == "NOPERM":
        return AccessDeniedError(
            f"{url} does not let {user} do this ({text}): give it the rights that the page on redis names"
        )
    if isinstance(error, TooLate | TimeoutError):
        return ConnectionLostError(
            f"{url} did not answer within its timeout of {endpoint.timeout:g} s: is it busy, or gone?"
        )
    if isinstance(error, _NOT_NOW) or code in ("READONLY", "MASTERDOWN", "NOREPLICAS", "LOADING", "BUSY", "TRYAGAIN"):
        return ConnectionLostError(f"{url} cannot be used now, but may be later: {text}")
    if isinstance(error, Disconnected | OSError | ValueError):
        why = distrust(error)
        return at_odds(url, why) if why else ConnectionLostError(f"{url} cannot be reached: {text}: is it running?")
    if code == "WIPED":
        return wiped(url)
    if isinstance(error, OutOfMemoryError) or code in ("OOM", "MISCONF"):
        return StoreFullError(f"{url} takes no more ({text}): give it memory or disk, or shorten the retention")
    return BrokerError(f"{url} refused a request: {text}")


async def unlike(error: BaseException, endpoint: Endpoint) -> BrokerError | None:
    """The final error where a server could not be opened since we do not agree on TLS."""
    hello = b"PING\r\n" if isinstance(error, ConnectionLostError) else None
    return await final(error, endpoint.url, (endpoint.host, endpoint.port), endpoint.tls, hello)


def wiped(url: str) -> DataLostError:
    """The server holds another log than the one that was opened, or none."""
    return DataLostError(
        f"{url} has lost everything that was written to it since this process connected, or is another server now: "
        "restore it, then start again; starting again without that begins anew, from nothing"
    )


def as_list(reply: Reply) -> list[Reply]:
    """A reply that is a list; None, which stands for an empty one, as such."""
    return cast("list[Reply]", reply) if reply is not None else []
