"""Messages that arrive by themselves and wait for whoever fetches them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta

from antiphon.events.message import Message


class Arrivals:
    """Kept in the order in which they came; one task takes them.

    `require_open` raises ClosedError once nothing can come any more.
    """

    def __init__(self, require_open: Callable[[], object] = lambda: None) -> None:
        self._require_open = require_open
        self._messages: list[Message] = []
        self._news = asyncio.Event()

    def put(self, message: Message) -> None:
        """One more. Never waits."""
        self._messages.append(message)
        self._news.set()

    def ring(self) -> None:
        """Wake whoever waits, with nothing."""
        self._news.set()

    async def take(self, wait: timedelta) -> Sequence[Message]:
        """All of them, as soon as there is one or it is rung; none after `wait`. Raises what `require_open` does."""
        if not self._messages:
            self._require_open()
            self._news.clear()
            try:
                async with asyncio.timeout(wait.total_seconds()):
                    await self._news.wait()
            except TimeoutError:
                return ()
        found, self._messages = self._messages, []
        return found
