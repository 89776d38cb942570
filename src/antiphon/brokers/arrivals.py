"""Messages that arrive by themselves and wait for whoever fetches them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from antiphon.events.message import Message


class Arrivals:
    """Kept in the order in which they came; one task takes them."""

    def __init__(self) -> None:
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
        """All of them, as soon as there is one or it is rung; none after `wait`."""
        if not self._messages:
            self._news.clear()
            try:
                async with asyncio.timeout(wait.total_seconds()):
                    await self._news.wait()
            except TimeoutError:
                return ()
        found, self._messages = self._messages, []
        return found
