"""What became of messages that were sent together?"""

from __future__ import annotations

import asyncio


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
