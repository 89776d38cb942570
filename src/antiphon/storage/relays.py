"""Which relays live, and which of them publishes which part of the outbox?"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from antiphon.storage.clocks import store_time
from antiphon.storage.database import Database, Transaction
from antiphon.storage.moments import moment, time_of
from antiphon.storage.outbox import BUCKETS
from antiphon.storage.queries import load_queries

_SQL = load_queries("antiphon.storage", "sql/outbox.sql")


SILENCE = timedelta(seconds=10)
"""A relay that has not been heard of for so long is taken for dead."""


class BucketLease(NamedTuple):
    """Which relay publishes a bucket, until when. The epoch grows with every change of owner."""

    bucket: int
    token: str | None
    epoch: int
    expires_at: int


class RelayTable:
    """One relay's view of who publishes which buckets. Moments are those of one clock, the store's."""

    def __init__(self, token: str, buckets: range = range(BUCKETS)) -> None:
        self._buckets = buckets
        self._beginning = "" if buckets == range(BUCKETS) else f"{buckets.start}/"
        self.token = f"{self._beginning}{token}"

    async def enter(self, tx: Transaction, now: datetime) -> None:
        """Say that this relay lives."""
        if self._beginning:
            await tx.execute_many(_SQL["make_leases"], [(bucket,) for bucket in self._buckets])
        await tx.execute(_SQL["enter"], self.token, moment(now))

    async def leave(self, tx: Transaction) -> None:
        """Give up everything, and be forgotten."""
        # First the relay, then its buckets, as whoever keeps up, and forgets others, does.
        await tx.execute(_SQL["leave"], self.token)
        await self.give_up(tx, self._buckets)

    async def forget_silent(self, tx: Transaction, before: datetime) -> None:
        """Forget the relays that were not heard of since that moment."""
        await tx.execute(_SQL["forget_silent"], moment(before))

    async def relays(self, tx: Transaction) -> Mapping[str, datetime]:
        """When each relay of the same outbox was last heard of, by its token."""
        rows = await tx.fetch(_SQL["relays"], row=tuple[str, int])
        return {token: time_of(heard) for token, heard in rows if self._is_of_same_outbox(token)}

    async def leases(self, tx: Transaction) -> Sequence[BucketLease]:
        """Every bucket's."""
        rows = await tx.fetch(_SQL["leases"], row=BucketLease)
        return [row for row in rows if row.bucket in self._buckets]

    async def reserve(self, tx: Transaction, buckets: Iterable[int]) -> None:
        """Wait until nobody else changes what is held or these, so that `renew`, `give_up` and `claim` never wait."""
        await tx.execute(_SQL["reserve"], self.token, _json(sorted(buckets)))

    async def claim(self, tx: Transaction, leases: Iterable[BucketLease], until: datetime) -> None:
        """Take these, as they were read; one that was claimed or renewed since then is left alone."""
        at = moment(until)
        await tx.execute_many(_SQL["claim"], [(bucket, self.token, epoch, end, at) for bucket, _, epoch, end in leases])

    async def renew(self, tx: Transaction, until: datetime) -> None:
        """Keep what is held until that moment."""
        await tx.execute(_SQL["renew"], self.token, moment(until))

    async def give_up(self, tx: Transaction, buckets: Iterable[int]) -> None:
        """Let others have these."""
        await tx.execute(_SQL["give_up"], self.token, _json(sorted(buckets)))

    async def held(self, tx: Transaction, buckets: Collection[int]) -> Mapping[int, int]:
        """Those of the buckets that are held, with their epochs; nobody else takes them before `tx` ends."""
        return dict(await tx.fetch(_SQL["held"], self.token, _json(sorted(buckets)), row=tuple[int, int]))

    def _is_of_same_outbox(self, token: str) -> bool:
        beginning, slash, _ = token.partition(" ")[0].partition("/")
        return f"{beginning}{slash}" == self._beginning if slash else not self._beginning


async def is_relay_alive(store: Database, own: datetime) -> bool:
    """Whether a relay of this store runs now, as far as it was heard of; `own` is the time of this process."""
    now = await store_time(store, own)
    return any(moment(now - SILENCE) < heard for _, heard in await store.fetch(_SQL["relays"], row=tuple[str, int]))


def _json(numbers: Sequence[int]) -> str:
    return msgspec.json.encode(numbers).decode()
