"""What became of messages that were sent together?"""

from __future__ import annotations

import asyncio

UNROUTED, NOT_TAKEN = "no queue takes it", "the server did not take it"
"""Why a message was refused that may be taken later."""


class Confirming:
    """What becomes of messages that were sent together."""

    def __init__(self, count: int) -> None:
        self.refused: dict[int, str] = {}
        """Why the server did not take some, by index."""
        self.open: dict[int, None] = dict.fromkeys(range(count))
        """Those of which nothing is known yet."""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(self, index: int, reason: str | None) -> None:
        if reason is not None:
            self.refused[index] = reason
        del self.open[index]
        if not self.open and not self.done.done():
            self.done.set_result(None)


class Awaited:
    """Stands among the driver's futures for one message that was sent."""

    __slots__ = ("_batch", "_ids", "_index", "_message_id")
    unrouted: type[BaseException]
    """What the driver raises for what no queue takes."""

    def __init__(self, batch: Confirming, index: int, message_id: str, ids: dict[str, int]) -> None:
        self._batch, self._index, self._message_id, self._ids = batch, index, message_id, ids

    def done(self) -> bool:
        return False

    def set_result(self, _: object) -> None:
        self._ids.pop(self._message_id, None)
        self._batch.end(self._index, None)

    def set_exception(self, error: BaseException) -> None:
        self._ids.pop(self._message_id, None)
        reason = UNROUTED if isinstance(error, self.unrouted) else NOT_TAKEN
        self._batch.end(self._index, reason)
