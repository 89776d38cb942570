"""How does a relay read Antiphon's own outbox?"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from antiphon.storage.database import Database, Transaction
from antiphon.storage.outbox import (
    OutboxBacklog,
    Staged,
    Unreadable,
    forget_staged,
    is_outbox_empty,
    next_staged,
    outbox_backlog,
)


class OwnReader:
    """As `OutboxReader`, of the table `antiphon_outbox`."""

    def __init__(self, store: Database) -> None:
        self._store = store

    async def next(self, buckets: Collection[int], limit: int) -> tuple[list[Staged], list[Unreadable]]:
        """As `OutboxReader.next`."""
        return await next_staged(self._store, buckets, limit)

    async def forget(self, tx: Transaction, numbers: Sequence[int]) -> None:
        """As `OutboxReader.forget`."""
        await forget_staged(tx, numbers)

    async def backlog(self, now: datetime) -> OutboxBacklog:
        """As `OutboxReader.backlog`."""
        return await outbox_backlog(self._store, now)

    async def is_empty(self) -> bool:
        """As `OutboxReader.is_empty`."""
        return await is_outbox_empty(self._store)
