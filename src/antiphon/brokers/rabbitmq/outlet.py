"""What publishes: a channel that is made again when it is lost, and the answer for each message."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from antiphon.brokers.rabbitmq.codec import Positions
from antiphon.brokers.rabbitmq.driver import Frames, Lane, Link, RefusedError

_AT_ONCE = 1_000
"""The driver looks at all that is under way whenever the server confirms several."""


class Outlet:
    """Sends messages in order, and returns when the server has answered for each."""

    def __init__(self, link: Link, positions: Positions) -> None:
        self._link, self._positions = link, positions
        self._lane: Lane | None = None
        self._opening = asyncio.Lock()

    async def send(self, messages: Sequence[Frames], ids: Sequence[str] | None = None) -> Mapping[int, str]:
        """Why some were refused, by index. Raises ConnectionLostError when nobody knows of some, and MissingError."""
        ids = self._positions.take(len(messages)) if ids is None else ids
        refused: dict[int, str] = {}
        for start in range(0, len(messages), _AT_ONCE):
            found = await self._send(messages[start : start + _AT_ONCE], ids[start : start + _AT_ONCE])
            refused.update((start + index, reason) for index, reason in found.items())
        return refused

    async def close(self) -> None:
        if self._lane is not None:
            await self._lane.close()

    async def _send(self, messages: Sequence[Frames], ids: Sequence[str]) -> Mapping[int, str]:
        lane = await self._opened()
        batch, error = await lane.publish(messages, ids)
        if error is None:
            return batch.refused
        if not isinstance(error, RefusedError):
            raise error
        # One of them made the server close the channel. Which, it does not say, so that each is sent alone.
        refused = dict(batch.refused)
        for index in list(batch.open):
            reason = await self._alone(messages[index], ids[index])
            if reason is not None:
                refused[index] = reason
        return refused

    async def _alone(self, message: Frames, id: str) -> str | None:
        batch, error = await (await self._opened()).publish([message], [id])
        if isinstance(error, RefusedError):
            return str(error)
        if error is not None:
            raise error
        return batch.refused.get(0)

    async def _opened(self) -> Lane:
        async with self._opening:
            if self._lane is None or not self._lane.is_open:
                self._lane = await self._link.lane(confirms=True)
            return self._lane
