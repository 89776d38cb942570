"""What does a relay ask of an outbox, wherever that keeps its messages?"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol
from zlib import crc32

from antiphon.events.clock import Clock
from antiphon.events.message import Outgoing
from antiphon.storage.database import Database, Transaction
from antiphon.storage.joining import JoinedTransaction
from antiphon.storage.outbox import BUCKETS, OutboxBacklog, Staged, Unreadable

_OTHERS = 1_000_000_000


class OutboxReader(Protocol):
    """One relay's view of an outbox."""

    async def next(self, buckets: Collection[int], limit: int) -> tuple[list[Staged], list[Unreadable]]:
        """The first of these buckets, in order, up to `limit`; and those that cannot be read. Raises StoreError."""
        ...

    async def forget(self, tx: Transaction, numbers: Sequence[int]) -> None:
        """Once `tx` commits, return these no more: a broker holds them, or they rest elsewhere."""
        ...

    async def backlog(self, now: datetime) -> OutboxBacklog:
        """How much rests in it, as far as is known."""
        ...

    async def is_empty(self) -> bool:
        """Whether nothing rests in it."""
        ...


class OutboxTable(Protocol):
    """An outbox that is not Antiphon's own: how messages get into it, and who reads it."""

    @property
    def buckets(self) -> range:
        """Its parts, which relays share out. No other outbox of the store has them."""
        ...

    @property
    def is_relayed(self) -> bool:
        """Whether a relay of ours publishes from it."""
        ...

    async def make(self, store: Database) -> None:
        """Make what is missing of it. Twice is safe. Raises StoreError, UnsupportedCapabilityError."""
        ...

    async def stage(self, tx: Transaction, outgoing: Sequence[Outgoing], now: datetime) -> None:
        """Have these published once `tx` has committed. Raises EncodeError, StoreError."""
        ...

    async def require(self, tx: Transaction) -> None:
        """Raise UnsupportedCapabilityError where nobody would be given what an application stages in `tx`. StoreError.

        A service need not ask: it has made everything at its start.
        """
        ...

    async def make_in(self, tx: JoinedTransaction) -> None:
        """As `make`, when a transaction of an application's own commits. Raises MigrationError, too."""
        ...

    def reader(self, store: Database, clock: Clock) -> OutboxReader:
        """A new view of it, for one relay."""
        ...


def only_bucket(name: str) -> range:
    """The one part of an outbox that is read from its beginning to its end, by one relay at a time."""
    number = BUCKETS + crc32(name.encode()) % _OTHERS
    return range(number, number + 1)
