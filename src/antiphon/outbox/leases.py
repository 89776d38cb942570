"""Which buckets of the outbox may this relay publish now? It shares them out with all others, and nobody leads."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import uuid4

import msgspec

from antiphon.brokers.assignment import Lease, Member, Plan, plan
from antiphon.brokers.ports import Partition
from antiphon.errors import LeaseLostError
from antiphon.events.clock import Clock
from antiphon.storage.clocks import store_time
from antiphon.storage.database import Database, Transaction
from antiphon.storage.moments import time_of
from antiphon.storage.outbox import BUCKETS
from antiphon.storage.relays import BucketLease, RelayTable
from antiphon.storage.runs import Process

TTL = timedelta(seconds=6)
"""How long the buckets of a relay that died wait for another one; on the same machine its death is seen at once."""
_OUTBOX = "outbox"
_PROCESS = msgspec.json.Decoder(Process)


class BucketLeases:
    """The buckets of one relay, each under a lease that it renews.

    What is taken for work is given up only when it was put back, so that two relays never work on one bucket while
    both keep their time. A relay that sleeps past its lease learns so before it publishes, or is fenced afterwards.
    """

    def __init__(
        self,
        store: Database,
        clock: Clock,
        ttl: timedelta = TTL,
        token: str | None = None,
        buckets: range = range(BUCKETS),
    ) -> None:
        self._store, self._clock, self._ttl, self._buckets = store, clock, ttl, buckets
        token = f"{token or uuid4().hex} {msgspec.json.encode(Process.own()).decode()}"
        self._table = RelayTable(token, buckets)
        self._owned: set[int] = set()
        self._epochs: Mapping[int, int] = {}
        self._leaving: set[int] = set()
        self._in_work: set[int] = set()
        self._sure_until = 0.0
        self._signs: dict[str, tuple[datetime, float]] = {}
        """The last sign of life of each relay, and when it was first seen here, by a clock that nobody sets."""

    @property
    def owned(self) -> Collection[int]:
        """What this relay holds, as far as it knows."""
        return self._owned

    @property
    def every(self) -> timedelta:
        """How often to keep them up."""
        return self._ttl / 3

    @property
    def is_sure(self) -> bool:
        """Whether nobody else can hold by now what is held here."""
        return self._clock.monotonic() < self._sure_until

    def take(self, road: int, roads: int) -> list[int]:
        """The buckets of one of several roads, for work, until they are put back. Empty when nothing is sure."""
        if not self.is_sure:
            return []
        taken = [b for b in self._owned - self._leaving if b % roads == road]
        self._in_work.update(taken)
        return taken

    def put_back(self, buckets: Iterable[int]) -> None:
        """Work on these has ended."""
        self._in_work.difference_update(buckets)

    async def keep_up(self) -> bool:
        """Renew what is held, claim what is free, give up what others should have; whether anything was gained.

        Raises StoreError; then nothing has changed, and what is held is sure for a while.
        """
        began = self._clock.monotonic()
        now = await store_time(self._store, self._clock.now())
        async with self._store.transaction() as tx:
            await self._table.enter(tx, now)
            await self._table.forget_silent(tx, now - 10 * self._ttl)
            leases = await self._table.leases(tx)
            todo = self._plan(await self._table.relays(tx), leases, now)
            self._leaving = {partition.number for partition in todo.give_up}
            wanted = {new.partition.number for new in todo.claim}
            await self._table.reserve(tx, wanted)
            await self._table.renew(tx, now + self._ttl)
            await self._table.give_up(tx, self._leaving - self._in_work)
            await self._table.claim(tx, [each for each in leases if each.bucket in wanted], now + self._ttl)
            epochs = await self._table.held(tx, self._buckets)
        # One that was lost and won back since the last look was somebody else's meanwhile.
        has_gained = any(self._epochs.get(bucket) != epoch for bucket, epoch in epochs.items())
        self._owned, self._epochs = set(epochs), epochs
        self._sure_until = began + self._ttl.total_seconds() * 0.8
        return has_gained

    async def require(self, tx: Transaction, buckets: Collection[int]) -> None:
        """Raise LeaseLostError, for `tx` to be rolled back, when any of these is somebody else's by now."""
        lost = set(buckets) - set(await self._table.held(tx, buckets))
        if lost:
            self._owned -= lost
            raise LeaseLostError(f"the outbox of {self._store.url}: another relay took over while this one slept")

    async def leave(self) -> None:
        """Let the others have everything at once."""
        self._owned = set()
        async with self._store.transaction() as tx:
            await self._table.leave(tx)

    def _plan(self, heard: Mapping[str, datetime], leases: Sequence[BucketLease], now: datetime) -> Plan:
        silent = self._silent(heard)
        members = [
            Member(token, frozenset({_OUTBOX}), at, token in silent or _is_dead(token, at, now))
            for token, at in heard.items()
        ]
        return plan(self._table.token, members, map(_lease, leases), now, self._ttl)

    def _silent(self, heard: Mapping[str, datetime]) -> Collection[str]:
        """Those that gave no sign for so long, whatever the store's clock says: set back, it would wait for them."""
        now = self._clock.monotonic()
        known = self._signs
        self._signs = {
            token: known[token] if token in known and known[token][0] == at else (at, now)
            for token, at in heard.items()
        }
        return {token for token, (_, since) in self._signs.items() if now - since >= self._ttl.total_seconds()}


def _is_dead(token: str, heard: datetime, now: datetime) -> bool:
    """Whether the process of this relay is known to be gone."""
    try:
        return _PROCESS.decode(token.partition(" ")[2]).is_dead(heard, now)
    except msgspec.DecodeError:
        return False


def _lease(row: BucketLease) -> Lease:
    return Lease(Partition(_OUTBOX, row.bucket), row.token, row.epoch, time_of(row.expires_at))
