"""When are messages deleted, and by whom?"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import cast
from uuid import uuid4

from antiphon.brokers.redis.driver import Links
from antiphon.brokers.redis.resp import Reply, pack
from antiphon.brokers.redis.scripts import Programs
from antiphon.brokers.redis.topics import Kept, Topics
from antiphon.errors import AntiphonError, StoreFullError

logger = logging.getLogger("antiphon.brokers.redis")

_PAUSE = 1.0
_DUTY = timedelta(seconds=5)


class Retention:
    """Deletes what a topic need not keep, a bounded step at a time; one process of all does it."""

    def __init__(self, links: Links, programs: Programs, topics: Topics, *, only_unread: bool) -> None:
        self._links, self._programs, self._topics = links, programs, topics
        self._only_unread = only_unread
        self._token = uuid4().hex

    async def run(self) -> None:
        """Delete until canceled."""
        trouble = ""
        while True:
            await asyncio.sleep(_PAUSE)
            try:
                if await self._is_ours():
                    await self.delete_all()
                trouble = ""
            except Exception as error:
                # Nobody waits for this task, so it would end in silence.
                if str(error) != trouble:
                    known = isinstance(error, AntiphonError)
                    logger.warning("retention waits: %s", error, exc_info=None if known else error)
                trouble = str(error)

    async def delete_all(self) -> int:
        """Delete everything that need not be kept now; returns how many messages that was."""
        deleted = 0
        for topic in await self._topics.kept():
            if self._only_unread or topic.keep_for is not None or topic.keep_bytes is not None:
                deleted += await self._delete(topic)
        return deleted

    async def _delete(self, topic: Kept) -> int:
        deleted, is_more = 0, 1
        while is_more:
            found = await self._programs.run(
                self._links,
                "retain",
                topic.name,
                topic.partitions,
                "-" if topic.keep_for is None else topic.keep_for // timedelta(milliseconds=1),
                "-" if topic.keep_bytes is None else topic.keep_bytes,
                "yes" if self._only_unread else "no",
            )
            count, is_more = cast("tuple[int, int]", found)
            deleted += count
        return deleted

    async def _is_ours(self) -> bool:
        """Take the duty on, where nobody has it, or keep it."""
        key, life = f"{self._programs.prefix}:duty:retention", _DUTY // timedelta(milliseconds=1)
        try:
            taken, holder = await self._ask(("SET", key, self._token, "NX", "PX", life), ("GET", key))
        except StoreFullError:
            return True  # whoever can make room must; two that do it at once do no harm
        if taken is None and holder == self._token.encode():
            await self._ask(("PEXPIRE", key, life))
        return holder == self._token.encode()

    async def _ask(self, *commands: tuple[str | int, ...]) -> list[Reply]:
        return await self._links.send([pack(command) for command in commands], len(commands))
