"""What do we ask of the PostgreSQL driver? The only file that imports it.

Connections are the driver's, and so are the adapting of values and the errors. Statements travel through libpq itself,
in its pipeline mode: the driver's own cursors cost six times as much for each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple, Self, cast

import psycopg
from psycopg import AsyncConnection, pq
from psycopg.adapt import AdaptersMap, Dumper, Loader, PyFormat, Transformer
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow, tuple_row
from psycopg.types.bool import BoolBinaryDumper, BoolLoader
from psycopg.types.none import NoneDumper
from psycopg.types.numeric import (
    FloatBinaryDumper,
    FloatLoader,
    Int4,
    Int4BinaryDumper,
    Int8,
    Int8BinaryDumper,
    IntLoader,
    IntNumeric,
    IntNumericBinaryDumper,
)
from psycopg.types.string import ByteaLoader, BytesBinaryDumper, StrDumperUnknown, TextLoader

from antiphon.errors import TransactionEndedError, UnsupportedCapabilityError
from antiphon.storage.database import Isolation, Row, SqlValue
from antiphon.storage.endings import refused_ending
from antiphon.storage.statements import ends_transaction, shorten

DriverError = psycopg.Error
PlainCursor = psycopg.Cursor[TupleRow]
AwaitedCursor = psycopg.AsyncCursor[TupleRow]
PlainConnection = psycopg.Connection[object]
AwaitedConnection = AsyncConnection[object]
AnyConnection = PlainConnection | AwaitedConnection
UNBINDABLE = (psycopg.Error, TypeError, UnicodeError, OverflowError)
"""What binding a value may raise: the driver's own, and these for values that no column takes."""

Result = pq.abc.PGresult
Link = pq.abc.PGconn
"""A connection as libpq has it, without the driver around it."""
_Params = Sequence[object] | Mapping[str, object] | None
_Bytes = bytes | bytearray | memoryview
_NOTHING_WRONG = frozenset({pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK, pq.ExecStatus.EMPTY_QUERY})
_COPYING = frozenset({pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_OUT, pq.ExecStatus.COPY_BOTH})
_LIBPQ_WITH_PIPELINES = 140000
_PIECES = 8
_LEVELS: Mapping[Isolation, psycopg.IsolationLevel] = {
    "read-committed": psycopg.IsolationLevel.READ_COMMITTED,
    "repeatable-read": psycopg.IsolationLevel.REPEATABLE_READ,
    "serializable": psycopg.IsolationLevel.SERIALIZABLE,
}
_FORMATS = {count: (PyFormat.AUTO,) * count for count in range(32)}


class Bound(NamedTuple):
    """The values of one statement as they travel."""

    values: Sequence[_Bytes | None]
    types: tuple[int, ...]
    formats: Sequence[pq.Format] | None


class _IntDumper(Dumper):
    """Two widths where the driver has three: fewer types make fewer prepared statements of one text.

    The smaller one stays, since many functions take no other.
    """

    _small, _large, _huge = Int4BinaryDumper(Int4), Int8BinaryDumper(Int8), IntNumericBinaryDumper(IntNumeric)

    def dump(self, obj: int) -> bytes:
        raise TypeError(obj)  # never asked: `upgrade` names another one

    def get_key(self, obj: int, format: PyFormat) -> type[int]:
        return cast("type[int]", self.upgrade(obj, format).cls)

    def upgrade(self, obj: int, format: PyFormat) -> Dumper:
        if -(2**31) <= obj < 2**31:
            return self._small
        return self._large if -(2**63) <= obj < 2**63 else self._huge


class _NumericLoader(Loader):
    """An integer where there are no fractional digits, so that a sum of integers is one; otherwise text, exact."""

    def load(self, data: _Bytes) -> int | str:
        text = bytes(data).decode()
        return int(text) if text.lstrip("-").isdecimal() else text


class _TimeLoader(Loader):
    """ISO 8601 with the zone in full, as `datetime.fromisoformat` and msgspec read it."""

    def load(self, data: _Bytes) -> str:
        text = bytes(data).decode().replace(" ", "T", 1)
        return f"{text}:00" if text[-3:-2] in ("+", "-") and "T" in text else text


_DUMPERS: Mapping[type, type[Dumper]] = {
    str: StrDumperUnknown,  # the server finds out what it is to be: a text, a timestamp, a UUID, JSON
    int: _IntDumper,
    bool: BoolBinaryDumper,
    float: FloatBinaryDumper,
    bytes: BytesBinaryDumper,
    type(None): NoneDumper,
}
_LOADERS: Mapping[str | int, type[Loader]] = {
    0: TextLoader,  # whatever is not named here
    "bool": BoolLoader,
    "int2": IntLoader,
    "int4": IntLoader,
    "int8": IntLoader,
    "oid": IntLoader,
    "float4": FloatLoader,
    "float8": FloatLoader,
    "numeric": _NumericLoader,
    "bytea": ByteaLoader,
    "timestamp": _TimeLoader,
    "timestamptz": _TimeLoader,
}


def _adapters() -> AdaptersMap:
    """Values in and out are what a `SqlValue` can be, and nothing else."""
    adapters = AdaptersMap(types=psycopg.adapters.types)
    for kind, dumper in _DUMPERS.items():
        adapters.register_dumper(kind, dumper)
    for name, loader in _LOADERS.items():
        adapters.register_loader(name, loader)
    return adapters


_ADAPTERS = _adapters()


def parse_url(url: str) -> dict[str, str]:
    """A connection URL as the parameters that libpq knows. Raises DriverError."""
    return {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}


async def connect(parameters: Mapping[str, str]) -> Wire:
    """A connection to the first server that answers. Raises DriverError, UnsupportedCapabilityError."""
    if pq.version() < _LIBPQ_WITH_PIPELINES:
        reason = f"it brings libpq {pq.version() // 10000}; install psycopg[binary], or libpq 14 or newer"
        raise UnsupportedCapabilityError("the driver of the PostgreSQL store", "pipeline mode", reason)
    return Wire(await AsyncConnection.connect(autocommit=True, **parameters))  # type: ignore[arg-type]  # all are libpq's own


class Wire:
    """One connection: statements go out without waiting, and `answers` brings what became of all of them."""

    def __init__(self, connection: AsyncConnection[object]) -> None:
        self._connection, self._pg = connection, connection.pgconn
        self._transformer = Transformer(_ADAPTERS)
        self._waiting: Waiting | None = None
        self.is_lost = False
        """Whether nothing more can be said over it."""
        self._pg.enter_pipeline_mode()

    def bind(self, args: Sequence[SqlValue]) -> Bound:
        """The values as they travel. Raises one of `UNBINDABLE`."""
        if not args:
            return Bound((), (), None)
        transformer = self._transformer
        values = transformer.dump_sequence(args, _FORMATS.get(len(args)) or (PyFormat.AUTO,) * len(args))
        return Bound(values, transformer.types or (), transformer.formats)

    def prepare(self, name: bytes, sql: str, types: Sequence[int]) -> None:
        """Send a statement to be run by its name later on."""
        self._pg.send_prepare(name, sql.encode(), types)

    def forget(self, name: bytes) -> None:
        """Drop a prepared statement."""
        self._pg.send_query_params(b"deallocate " + name, None)

    def run(self, name: bytes, bound: Bound) -> None:
        """Send a prepared statement's values."""
        self._pg.send_query_prepared(name, bound.values, bound.formats)

    def run_once(self, sql: str) -> None:
        """Send a statement without values that is not worth preparing."""
        self._pg.send_query_params(sql.encode(), None)

    async def answers(self, received: list[Result]) -> None:
        """Wait until everything that was sent has been answered, each with one result, appended to `received`.

        Raises DriverError when the connection is lost; what came before is in `received`. Canceled in between, it is
        of no more use.
        """
        try:
            self._pg.pipeline_sync()
            while True:
                unsent = bool(self._pg.flush())
                if self._pg.is_busy():
                    await self._ready(unsent, answered=True)
                elif self._take(received):
                    return
        except BaseException:
            self.is_lost = True
            raise

    async def notified(self) -> None:
        """Wait for a notification; those that came together count as one. Raises DriverError, and as `answers`."""
        try:
            while True:
                self._pg.consume_input()
                if self._pg.notifies() is not None:
                    while self._pg.notifies() is not None:
                        pass
                    return
                if self._pg.status == pq.ConnStatus.BAD:
                    raise psycopg.OperationalError(self._pg.get_error_message())
                await self._ready(unsent=False, answered=False)
        except BaseException:
            self.is_lost = True
            raise

    def _take(self, received: list[Result]) -> bool:
        """Take the next result; true when it was the last."""
        result = self._pg.get_result()
        if result is None:
            if self._pg.status == pq.ConnStatus.BAD:
                raise psycopg.OperationalError(self._pg.get_error_message())
            return False
        if result.status == pq.ExecStatus.PIPELINE_SYNC:
            return True
        received.append(result)
        if result.status in _COPYING or is_fatal(result):
            raise error_of(result) or psycopg.NotSupportedError("COPY cannot be used here")
        return False

    @property
    def is_waiting(self) -> bool:
        """Whether some task waits for answers now."""
        return self._waiting is not None

    async def _ready(self, unsent: bool, *, answered: bool) -> None:
        waiting = self._waiting = Waiting(self._pg, unsent, answered)
        try:
            await waiting.ready
        finally:
            waiting.end()
            self._waiting = None

    def is_usable(self) -> bool:
        """Whether the server, as far as is known here, still holds it; asks nobody."""
        if self.is_lost:
            return False
        try:
            self._pg.consume_input()
            self._pg.consume_input()  # the first one may have read the server's last words, and no end yet
        except DriverError:
            self.is_lost = True
        return not self.is_lost and self._pg.status == pq.ConnStatus.OK

    def rows(self, result: Result) -> list[Row]:
        """The rows of an answer."""
        self._transformer.set_pgresult(result)
        return self._transformer.load_rows(0, result.ntuples, tuple)

    async def cancel(self, patience: timedelta) -> None:
        """Ask the server to stop what it does for us. Raises DriverError."""
        await self._connection.cancel_safe(timeout=patience.total_seconds())

    def close(self) -> None:
        """A task that waits for answers is told that the connection is gone. Twice is safe."""
        self.is_lost = True
        if self._waiting is not None:
            self._waiting.end(psycopg.OperationalError("the connection was closed here"))
        self._pg.finish()


class _LentCursor(psycopg.Cursor[TupleRow]):
    def execute(
        self, query: object, params: object = None, *, prepare: bool | None = None, binary: bool | None = None
    ) -> Self:
        _require_harmless(query)
        return super().execute(cast("bytes", query), cast("_Params", params), prepare=prepare, binary=binary)


class _AsyncLentCursor(psycopg.AsyncCursor[TupleRow]):
    async def execute(
        self, query: object, params: object = None, *, prepare: bool | None = None, binary: bool | None = None
    ) -> Self:
        _require_harmless(query)
        return await super().execute(cast("bytes", query), cast("_Params", params), prepare=prepare, binary=binary)


class LentConnection(psycopg.Connection[TupleRow]):
    """A connection in a handler's hands: it may run anything but what ends its transaction."""

    def commit(self) -> None:
        """Refused."""
        raise _refused("commit()")

    def rollback(self) -> None:
        """Refused."""
        raise _refused("rollback()")

    def close(self) -> None:
        """Refused."""
        raise _refused("close()")

    def end(self, *, commit: bool) -> None:
        """Commit or roll back after all."""
        if commit:
            super().commit()
        else:
            super().rollback()


class AsyncLentConnection(AsyncConnection[TupleRow]):
    """As `LentConnection`."""

    async def commit(self) -> None:
        """Refused."""
        raise _refused("commit()")

    async def rollback(self) -> None:
        """Refused."""
        raise _refused("rollback()")

    async def close(self) -> None:
        """Refused."""
        raise _refused("close()")

    async def end(self, *, commit: bool) -> None:
        """Commit or roll back after all."""
        if commit:
            await super().commit()
        else:
            await super().rollback()


def _refused(tried: str) -> TransactionEndedError:
    return refused_ending(tried, "the connection")


def _require_harmless(query: object) -> None:
    text = query.decode(errors="replace") if isinstance(query, bytes) else query
    if isinstance(text, str) and ends_transaction(text):
        raise _refused(repr(shorten(text)))


def connection_class(*, is_plain: bool) -> type:
    """What handlers ask for."""
    return psycopg.Connection if is_plain else AsyncConnection


def connect_lent(parameters: Mapping[str, str]) -> Link:
    """A link of its own for connections that handlers are given. Raises DriverError."""
    return _link_of(psycopg.Connection.connect(**parameters))  # type: ignore[arg-type]  # all are libpq's own


async def connect_lent_async(parameters: Mapping[str, str]) -> Link:
    """As `connect_lent`."""
    return _link_of(await AsyncConnection.connect(**parameters))  # type: ignore[arg-type]  # all are libpq's own


def _link_of(connection: psycopg.Connection[TupleRow] | AsyncConnection[TupleRow]) -> Link:
    link, connection.pgconn = connection.pgconn, pq.PGconn()
    return link


def lend(link: Link, isolation: Isolation) -> LentConnection:
    """The link as a connection for one handler."""
    connection = LentConnection(link, row_factory=tuple_row)
    connection.cursor_factory = _LentCursor
    connection.prepare_threshold = None  # names of statements would meet those of the handler before
    connection.isolation_level = _LEVELS[isolation]
    return connection


async def lend_async(link: Link, isolation: Isolation) -> AsyncLentConnection:
    """As `lend`."""
    connection = AsyncLentConnection(link, row_factory=tuple_row)
    connection.cursor_factory = _AsyncLentCursor
    connection.prepare_threshold = None
    await connection.set_isolation_level(_LEVELS[isolation])
    return connection


def take_back(connection: LentConnection | AsyncLentConnection) -> Link | None:
    """The link out of a connection, which is closed from now on; None when it is of no more use."""
    link = _link_of(connection)
    if link.status == pq.ConnStatus.OK and link.transaction_status == pq.TransactionStatus.IDLE:
        return link
    link.finish()
    return None


def plain_cursor(connection: PlainConnection) -> PlainCursor:
    """A cursor of somebody else's connection that gives tuples, whatever rows its owner wants."""
    return connection.cursor(row_factory=tuple_row)


def awaited_cursor(connection: AwaitedConnection) -> AwaitedCursor:
    """As `plain_cursor`."""
    return connection.cursor(row_factory=tuple_row)


def is_idle(connection: AnyConnection) -> bool:
    """Whether no transaction is open, as far as is known here."""
    return connection.info.transaction_status == pq.TransactionStatus.IDLE


class Waiting:
    """One task's wait until something was read, or can be written when something is unsent.

    With `answered` what is read is taken in until it is an answer: the task is not woken for each piece of it, of which
    libpq makes dozens for a thousand rows.
    """

    def __init__(self, link: Link, unsent: bool, answered: bool) -> None:
        self._loop, self._link, self._socket = asyncio.get_running_loop(), link, link.socket
        self._unsent, self._answered = unsent, answered
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self._is_over = False
        self._loop.add_reader(self._socket, self._wake)
        if unsent:
            self._loop.add_writer(self._socket, self._wake)

    def end(self, error: DriverError | None = None) -> None:
        """Stop watching; before the socket is closed, since its number may soon be another one's. Twice is safe."""
        if not self._is_over:
            self._is_over = True
            self._loop.remove_reader(self._socket)
            if self._unsent:
                self._loop.remove_writer(self._socket)
        if error is not None and not self.ready.done():
            self.ready.set_exception(error)

    def _wake(self) -> None:
        if self.ready.done():
            return
        try:
            if self._takes_in():
                self.ready.set_result(None)
        except psycopg.Error as error:
            self.ready.set_exception(error)

    def _takes_in(self) -> bool:
        """Read what is there; whether that was enough. The others of the loop have their turn after some pieces."""
        for _ in range(_PIECES):
            self._link.consume_input()
            if self._unsent or not self._answered or not self._link.is_busy():
                return True
        return False


def columns(result: Result) -> list[str]:
    """The names of an answer's columns."""
    return [(result.fname(number) or b"").decode() for number in range(result.nfields)]


def is_good(result: Result) -> bool:
    """Whether a statement was run."""
    return result.status in _NOTHING_WRONG


def is_skipped(result: Result) -> bool:
    """Whether a statement was not run, since one before it failed."""
    return result.status == pq.ExecStatus.PIPELINE_ABORTED


def is_fatal(result: Result) -> bool:
    """Whether the server ends the connection with this answer."""
    severity = result.error_field(pq.DiagnosticField.SEVERITY_NONLOCALIZED)
    return severity is not None and bytes(severity) in (b"FATAL", b"PANIC")


def said(result: Result) -> str:
    """What the server calls what it did, as in `COMMIT`."""
    return bytes(result.command_status or b"").decode()


def error_of(result: Result) -> DriverError | None:
    """The driver's exception for an answer that is none."""
    return psycopg.errors.error_from_result(result) if result.status == pq.ExecStatus.FATAL_ERROR else None
