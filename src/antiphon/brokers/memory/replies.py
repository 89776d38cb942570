"""Reply boxes of this process: what is sent to one waits in it until it is fetched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from uuid import uuid4

from antiphon.brokers.memory.bell import Bell
from antiphon.brokers.ports import Reply
from antiphon.events.clock import Clock
from antiphon.events.message import Message


class MemoryReplyBox:
    """As `ReplyBox`."""

    def __init__(
        self, name: str, clock: Clock, boxes: dict[str, MemoryReplyBox], require_open: Callable[[], object]
    ) -> None:
        self._require_open = require_open
        self.address = f"{name}.{uuid4().hex}"
        self._arrived: list[Message] = []
        self._bell, self._boxes = Bell(clock), boxes
        boxes[self.address] = self

    def put(self, message: Message) -> None:
        """Keep it until it is fetched."""
        self._arrived.append(message)
        self._bell.ring()

    async def fetch(self, wait: timedelta) -> Sequence[Message]:
        """As `ReplyBox.fetch`."""
        if not self._arrived:
            self._require_open()
            self._bell.clear()
            await self._bell.wait(wait.total_seconds())
        found, self._arrived = self._arrived, []
        return found

    async def close(self) -> None:
        """As `ReplyBox.close`."""
        self._boxes.pop(self.address, None)
        self._bell.ring()


class MemoryReplies:
    """All reply boxes of one broker, by address."""

    def __init__(self, clock: Clock, require_open: Callable[[], object]) -> None:
        self._clock, self._require_open = clock, require_open
        self._boxes: dict[str, MemoryReplyBox] = {}

    def open_box(self, name: str) -> MemoryReplyBox:
        """A new one."""
        return MemoryReplyBox(name, self._clock, self._boxes, self._require_open)

    def put(self, replies: Sequence[Reply]) -> None:
        """Put each into its box, where that is there."""
        for address, message in replies:
            if (box := self._boxes.get(address)) is not None:
                box.put(message)
