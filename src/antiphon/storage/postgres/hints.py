"""How is a hint sent and heard on PostgreSQL? By NOTIFY, never in the transaction that it tells of.

All transactions that notify commit one after another, whoever begins them: in those of users it would cost nearly all
the speed there is. So one process notifies on its own, after them and for many at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta

from antiphon.errors import ClosedError, StoreError
from antiphon.storage.postgres.placeholders import quoted
from antiphon.storage.postgres.pool import Pool
from antiphon.storage.postgres.session import Session

logger = logging.getLogger("antiphon.storage")

EVERY = timedelta(milliseconds=5)
"""One process notifies no more often."""
_PAUSE = timedelta(milliseconds=100)
"""After a connection that listened was lost."""
# A schema of its own has a channel of its own; a name may be no longer than 63 bytes, and a schema's may be so long.
_CHANNEL = "'antiphon ' || cast(? as text) || ' ' || left(md5(current_schema()), 16)"
_NOTIFY = f"select pg_notify({_CHANNEL}, '')"
_NAME = f"select {_CHANNEL}"


class Hints:
    """As `HintingDatabase`, over connections of a pool, and one more for each who listens."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._waiting: set[str] = set()
        self._sending: asyncio.Task[None] | None = None
        self._next = 0.0

    def send(self, channel: str) -> None:
        """As `HintingDatabase.hint`."""
        self._waiting.add(channel)
        if self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._send(), name="antiphon hints")

    async def listen(self, channel: str, roused: Callable[[], None]) -> None:
        """As `HintingDatabase.listen`: while the server is gone, it connects again later and later."""
        while True:
            try:
                session = await self._pool.connect_apart()
                try:
                    await self._hear(session, channel, roused)
                finally:
                    session.close()
            except (StoreError, ClosedError) as error:
                logger.debug("hints are not heard for now: %s", error)
                await asyncio.sleep(_PAUSE.total_seconds())

    async def close(self) -> None:
        """Send nothing more. Twice is safe."""
        sending = self._sending
        if sending is not None:
            sending.cancel()
            await asyncio.wait({sending})

    async def _send(self) -> None:
        now = asyncio.get_running_loop().time
        try:
            while self._waiting:
                await asyncio.sleep(max(0.0, self._next - now()))
                self._next = now() + EVERY.total_seconds()
                channels, self._waiting = self._waiting, set()
                await self._notify(channels)
        except (StoreError, ClosedError) as error:
            self._waiting.clear()
            logger.debug("hints were not sent: %s", error)
        finally:
            self._sending = None

    async def _notify(self, channels: set[str]) -> None:
        session = await self._pool.take("send a hint")
        try:
            for channel in channels:
                session.send(_NOTIFY, (channel,))
            if (failed := await session.settle()) is not None:
                raise failed.error
        finally:
            await self._pool.give_back(session)

    async def _hear(self, session: Session, channel: str, roused: Callable[[], None]) -> None:
        session.send(_NAME, (channel,))
        if (failed := await session.settle()) is not None:
            raise failed.error
        ((name,),) = session.rows()
        session.control(f"listen {quoted(str(name))}")
        if (failed := await session.settle()) is not None:
            raise failed.error
        roused()
        while True:
            await session.notified()
            roused()
