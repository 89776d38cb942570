"""How is what is due published: in one transaction with the schedule, or under a lease where that cannot be?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Protocol, TypeGuard
from uuid import uuid4

from antiphon.brokers.ports import Broker, StoreBroker
from antiphon.events.clock import Clock
from antiphon.events.message import Outgoing
from antiphon.outbox.handover import Handover
from antiphon.storage.database import Database, OpenTransaction, Transaction
from antiphon.storage.schedule import claim_due, done, fail, put_off

LIMIT = 500
"""The most messages that are published at once."""
HOLD = timedelta(seconds=30)


class DuePublishing(Protocol):
    """Publishes what is due, one batch at a time."""

    async def publish(self) -> Handover | None:
        """Publish the next batch; None when nothing is free. Raises what keeps it from being published at all."""
        ...


def due_publishing(broker: Broker, store: Database, clock: Clock, hold: timedelta = HOLD) -> DuePublishing:
    """The strongest way that there is with this broker and this store."""
    if is_on(broker, store):
        return TogetherPublishing(broker, store, clock)
    return LeasedPublishing(broker, store, clock, hold)


def is_on(broker: Broker, store: Database) -> TypeGuard[StoreBroker]:
    """Whether publishing can join a transaction of the store."""
    return isinstance(broker, StoreBroker) and broker.capabilities.store_transactions and broker.database is store


class TogetherPublishing:
    """On a broker in the store itself: what is published leaves the schedule in the same commit, so it happens once."""

    def __init__(self, broker: StoreBroker, store: Database, clock: Clock) -> None:
        self._broker, self._store, self._clock = broker, store, clock
        self._token = uuid4().hex

    async def publish(self) -> Handover | None:
        """As `DuePublishing.publish`; when it raises, nothing happened."""
        tx = await self._store.begin()
        try:
            handover = await self._hand_over(tx)
            await tx.commit()
        except BaseException:
            await tx.rollback()
            raise
        return handover

    async def _hand_over(self, tx: OpenTransaction) -> Handover | None:
        due = await claim_due(tx, self._clock.now(), LIMIT, HOLD, self._token)
        if not due:
            return None
        handover = Handover(partial(self._publish_part, tx), is_whole=True)
        await handover.run(due)
        await _record(tx, handover, self._token, self._clock)
        return handover

    async def _publish_part(self, tx: OpenTransaction, outgoing: Sequence[Outgoing]) -> None:
        await tx.savepoint()
        try:
            await self._broker.publish_in(tx, outgoing)
        except BaseException:
            await tx.undo()
            raise
        await tx.release()


class LeasedPublishing:
    """On any other broker: held while it is published, then forgotten. After a crash between it is published again."""

    def __init__(self, broker: Broker, store: Database, clock: Clock, hold: timedelta) -> None:
        self._broker, self._store, self._clock, self._hold = broker, store, clock, hold
        self._token = uuid4().hex

    async def publish(self) -> Handover | None:
        """As `DuePublishing.publish`; when it raises, it is tried again later, under the same ids."""
        async with self._store.transaction() as tx:
            due = await claim_due(tx, self._clock.now(), LIMIT, self._hold, self._token)
        if not due:
            return None
        handover = Handover(self._broker.publish, is_whole=False)
        try:
            await handover.run(due)
        finally:
            async with self._store.transaction() as tx:
                await _record(tx, handover, self._token, self._clock)
        return handover


async def _record(tx: Transaction, handover: Handover, token: str, clock: Clock) -> None:
    now = clock.now()
    await done(tx, [each.number for each in handover.published], token)
    await fail(tx, {each.number: reason for each, reason in handover.failed}, token)
    await put_off(tx, [each.number for each in handover.put_off], token, now)
    await put_off(tx, [each.number for each in handover.in_doubt], token, now, is_doubtful=not handover.is_whole)
