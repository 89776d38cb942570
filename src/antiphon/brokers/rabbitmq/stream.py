"""A stream that is read from its beginning and followed: what everybody on the server has to know alike.

Its order is the same for all. Whoever writes something and reads it back knows everything that was written before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import msgspec

from antiphon.brokers.rabbitmq.answers import Received
from antiphon.brokers.rabbitmq.codec import Plain, Positions, route
from antiphon.brokers.rabbitmq.confirming import UNROUTED
from antiphon.brokers.rabbitmq.driver import PATIENCE, Lane, Link, MissingError
from antiphon.brokers.rabbitmq.names import Arguments
from antiphon.brokers.rabbitmq.outlet import Outlet
from antiphon.errors import ConnectionLostError

logger = logging.getLogger("antiphon.brokers.rabbitmq")
Record = TypeVar("Record", bound=msgspec.Struct)
_HELD, _EACH, _REST = 1_000, 250, 0.5
"""How many records are on their way at most, and after how many, or how many seconds, they are acknowledged."""
_PAUSES = (0.01, 0.05, 0.2, 1.0)
_DOUBTS = (0.5, 1.0, 2.0)
"""Seconds before each look for a stream that nothing is routed to."""
_SOON = 0.2
"""Seconds within which an idle server hands out the first record; nothing is wrong where it takes longer."""
_encode = msgspec.json.Encoder().encode


class StreamGoneError(ConnectionLostError):
    """Somebody deleted it. Where the whole server was emptied, that is noticed soon."""


class Stream(Generic[Record]):
    """JSON records. `take` gets each once, in their order."""

    def __init__(
        self, link: Link, outlet: Outlet, name: str, arguments: Arguments, kind: type[Record],
        take: Callable[[Record], None],
    ) -> None:  # fmt: skip
        self.name = name
        self._link, self._outlet, self._arguments = link, outlet, arguments
        self._positions = Positions()
        self._decode: Callable[[bytes], Record] = msgspec.json.Decoder(kind).decode
        self._take = take
        self._route = route("", name)
        self._lane: Lane | None = None
        self._next = self._handled = 0
        self.missed = 0
        """How many numbers in a row did not come since the last record that was taken."""
        self._more = asyncio.Event()
        self._awaited: dict[str, asyncio.Future[None]] = {}

    async def open(self) -> None:
        """Make it where it is missing, and read on from where that ended; returns before everything is read."""
        await self._link.do(lambda lane: lane.declare_queue(self.name, self._arguments))
        for pause in (*_PAUSES, None):
            lane = await self._link.lane()
            self._lane, self._handled = lane, 0
            try:
                await self._read(lane)
                return
            except ConnectionLostError:  # for a moment a stream that is new has nobody to read from
                if pause is None or not self._link.is_up:
                    raise
                await asyncio.sleep(pause)

    async def _read(self, lane: Lane) -> None:
        start: int | str = self._next or "first"
        await lane.consume(
            self.name, lambda received: self._on_record(lane, received), _HELD, {"x-stream-offset": start}
        )

    async def catch_up(self) -> bool:
        """Return when what was there at the call is taken; False where nothing seems to be there."""
        last = await self._at("last")
        if last is None:
            return False
        async with asyncio.timeout(PATIENCE):
            while self._next <= last[0]:
                self._more.clear()
                await self._more.wait()
        return True

    async def first(self) -> Record | None:
        """The record at its beginning, read anew; None where nothing is. Raises MissingError where there is none."""
        await self._link.do(lambda lane: lane.look(self.name))
        found = await self._at("first")
        return None if found is None else self._decode(found[1])

    async def _at(self, place: str) -> tuple[int, bytes] | None:
        """The offset and the bytes of a record; None where none comes."""
        found: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()

        def take(received: Received) -> None:
            if not found.done():
                found.set_result((_offset(received), received.body))

        lane = await self._link.lane()
        try:
            await lane.consume(self.name, take, 1, {"x-stream-offset": place})
            async with asyncio.timeout(_SOON):
                return await found
        except TimeoutError:
            return None
        finally:
            await lane.close()

    async def write(self, records: Sequence[Record]) -> None:
        """Append these; returns when they, and all before them, were taken here. Raises ConnectionLostError."""
        ids = self._positions.take(len(records))
        back = self._awaited[ids[-1]] = asyncio.get_running_loop().create_future()
        try:
            refused = await self._outlet.send([Plain(self._route, _encode(record)) for record in records], ids)
            if refused:
                why = next(iter(refused.values()))
                if why == UNROUTED and await self._is_gone():
                    raise StreamGoneError(f"{self.name!r} is not on {self._link.shown} any more")
                raise ConnectionLostError(f"{self._link.shown} does not take what is written to {self.name!r}: {why}")
            async with asyncio.timeout(PATIENCE):
                await back
        except TimeoutError as error:
            raise ConnectionLostError(f"{self.name!r} of {self._link.shown} is not read to its end") from error
        finally:
            del self._awaited[ids[-1]]

    async def _is_gone(self) -> bool:
        """Whether it is not there, at length: a server that stops or starts seems to have none, for a moment.

        Raises ConnectionLostError.
        """
        for pause in _DOUBTS:
            await asyncio.sleep(pause)
            try:
                await self._link.do(lambda lane: lane.look(self.name))
            except MissingError:
                continue
            return False
        return True

    @property
    def taken(self) -> int:
        """The number of the record that was taken last, or is being taken."""
        return self._next - 1

    def begin_anew(self) -> None:
        """Read another stream of that name from its beginning."""
        self._next = 0

    async def close(self) -> None:
        if self._lane is not None:
            await self._lane.close()

    def _on_record(self, lane: Lane, received: Received) -> None:
        offset = _offset(received)
        if lane is not self._lane or offset < self._next:
            return
        self.missed = max(self.missed, offset - self._next)
        self._next = offset + 1
        self._more.set()
        try:
            self._take(self._decode(received.body))
            self.missed = 0
        except msgspec.DecodeError as error:
            logger.warning("a record of %r on %s is not ours: %s", self.name, self._link.shown, error)
        if received.message_id is not None and (back := self._awaited.get(received.message_id)) and not back.done():
            back.set_result(None)
        if self._handled == 0 or received.tag % _EACH == 0:
            asyncio.get_running_loop().call_later(0 if self._handled else _REST, self._acknowledge, lane)
        self._handled = received.tag

    def _acknowledge(self, lane: Lane) -> None:
        # Many at once, but all of them: a server closes the channel of who holds something for half an hour.
        if lane is self._lane and self._handled:
            lane.acknowledge_later(self._handled)
            self._handled = 0


def _offset(received: Received) -> int:
    offset = received.headers.get("x-stream-offset")
    return offset if isinstance(offset, int) else -1
