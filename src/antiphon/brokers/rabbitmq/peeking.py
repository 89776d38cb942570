"""What is in streams now? The server hands out what there is; of one that is empty nothing comes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

from antiphon.brokers.rabbitmq.answers import Received, Take
from antiphon.brokers.rabbitmq.driver import PATIENCE, Lane, Link, MissingError
from antiphon.errors import ConnectionLostError

_PAUSES, _MOMENT = (0.01, 0.05, 0.2), 1.0
_SOON = 0.2
"""Seconds within which a server that answers at all hands out the first message, where there is one."""
_AT_ONCE = 256
"""All that each of them finds is in memory at once."""
MOST = 5_000
"""More messages than the server ever keeps in one piece."""


class Look(NamedTuple):
    """From where on to look, and for how many messages."""

    stream: str
    start: int | str | datetime
    limit: int = MOST


class Peeking:
    """Looks into streams. `control` is one that is never empty: while nothing comes of it, no other counts as empty."""

    def __init__(self, link: Link, control: str) -> None:
        self._link, self._control = link, Look(control, "first", 1)

    async def first(self, stream: str) -> int | None:
        """The position before the first message that is kept; None where there is none. Raises MissingError.

        None is there to be found either where retention left nothing but a record of the server's own.
        """
        (found,) = await self._look([Look(stream, "first", 1)])
        return offset_in(found[0]) if found else None

    async def end(self, stream: str) -> int | None:
        """The position after the last message; None where there is none, as of `first`. Raises MissingError."""
        (found,) = await self._look([Look(stream, "last")])
        return offset_in(found[-1]) + 1 if found else None

    async def look(self, looks: Sequence[Look]) -> list[list[Received]]:
        """What each finds, as far as the server hands it out at once. There is nothing in a stream that is not there.

        Raises ConnectionLostError.
        """
        found: list[list[Received]] = []
        for start in range(0, len(looks), _AT_ONCE):
            found += await self._some(looks[start : start + _AT_ONCE])
        return found

    async def _some(self, looks: Sequence[Look]) -> list[list[Received]]:
        try:
            return await self._look(looks)
        except MissingError:
            # One of them. The server does not say which before it closes the channel.
            return [[]] if len(looks) == 1 else [(await self._some([each]))[0] for each in looks]

    async def _look(self, looks: Sequence[Look]) -> list[list[Received]]:
        latest = asyncio.get_running_loop().time() + _MOMENT
        for pause in (*_PAUSES, None):
            lane = await self._link.lane()
            try:
                return (await _asked(lane, [*looks, self._control]))[:-1]
            except ConnectionLostError:  # for a moment a stream that is new has nobody to read from
                if pause is None or not self._link.is_up or asyncio.get_running_loop().time() > latest:
                    raise
            finally:
                lane.close_later()  # whoever stops asking, as a service that stops, waits for nothing
            await asyncio.sleep(pause)
        raise AssertionError("it returned or raised before")


async def _asked(lane: Lane, looks: Sequence[Look]) -> list[list[Received]]:
    """What the looks find, of which the last one finds something in any case."""
    found: list[list[Received]] = [[] for _ in looks]
    has_come = asyncio.Event()
    for limit in sorted({each.limit for each in looks}):
        readings = [
            (each.stream, _taking(into, has_come), {"x-stream-offset": each.start})
            for each, into in zip(looks, found, strict=True)
            if each.limit == limit
        ]
        await lane.consume_all(readings, min(limit, 0xFFFF))
    await lane.barrier()
    try:
        await _until_come(found[-1:], has_come, PATIENCE)
    except TimeoutError as error:
        raise lane.lost("it hands out nothing of what it holds") from error
    with suppress(TimeoutError):
        await _until_come(found, has_come, _SOON)
    # What there is comes in one go, and before the answer to what is asked then.
    await lane.barrier()
    return [into[: each.limit] for each, into in zip(looks, found, strict=True)]


def _taking(into: list[Received], has_come: asyncio.Event) -> Take:
    def take(received: Received) -> None:
        if not into:
            has_come.set()
        into.append(received)

    return take


async def _until_come(found: Sequence[list[Received]], has_come: asyncio.Event, seconds: float) -> None:
    """Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not all(found):
            has_come.clear()
            await has_come.wait()


def offset_in(received: Received) -> int:
    offset = received.headers.get("x-stream-offset")
    return offset if isinstance(offset, int) else -1
