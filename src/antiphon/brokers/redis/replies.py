"""Replies on Redis: a channel of its own for each asker, which the server keeps nothing of."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from antiphon.brokers.arrivals import Arrivals
from antiphon.brokers.ports import Reply
from antiphon.brokers.redis.driver import Hearing, Links
from antiphon.errors import AntiphonError, PublishError, Refusal, SchemaError
from antiphon.events.message import Message
from antiphon.events.wire import STRUCTURED, recognize, to_structured

logger = logging.getLogger("antiphon.brokers.redis")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0


class RedisReplyBox:
    """As `ReplyBox`; it listens on a connection of its own, and again when that was lost."""

    def __init__(self, hearing: Hearing, prefix: str, require_open: Callable[[], object]) -> None:
        self.address = f"{prefix}:replies:{uuid4().hex}"
        self._hearing = hearing
        self._arrivals = Arrivals(require_open)
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Take replies. Raises ConnectionLostError, also where a login is refused, and AccessDeniedError."""
        try:
            await self._hearing.begin(self.address)
        except BaseException:
            await self._hearing.close()
            raise
        self._task = asyncio.create_task(self._hear(), name="antiphon redis replies")

    async def _hear(self) -> None:
        pause, told = _FIRST_PAUSE, ""
        while True:
            try:
                await self._hearing.begin(self.address)
                while True:
                    self._take(await self._hearing.next())
                    pause, told = _FIRST_PAUSE, ""
            except AntiphonError as error:
                if str(error) != told:
                    logger.warning("replies are not heard until this is over: %s", error)
                told = str(error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _take(self, body: bytes) -> None:
        try:
            message = recognize({"content-type": STRUCTURED}, body, received_at=datetime.now(UTC))
        except SchemaError as error:  # what is no message replies to nobody
            logger.warning("what came as a reply is no message: %s", error)
        else:
            self._arrivals.put(message)

    async def fetch(self, wait: timedelta) -> Sequence[Message]:
        """As `ReplyBox.fetch`."""
        return await self._arrivals.take(wait)

    async def close(self) -> None:
        """As `ReplyBox.close`."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        await self._hearing.close()
        self._arrivals.ring()


async def send_replies(links: Links, prefix: str, limit: int, replies: Sequence[Reply]) -> None:
    """As `Replying.reply`."""
    address_form = re.compile(rf"{re.escape(prefix)}:replies:[0-9a-f]{{32}}")
    refusals: list[Refusal] = []
    commands: list[tuple[str, str, bytes]] = []
    for address, message in replies:
        size = len(message.data or b"")
        if size > limit:
            reason = f"its data has {size} bytes, the limit is {limit}"
            refusals.append(Refusal(address, message.id, reason))
        elif address_form.fullmatch(address):
            commands.append(("PUBLISH", address, to_structured(message)))
    if commands:
        await links.ask(*commands)
    if refusals:
        raise PublishError(refusals)
