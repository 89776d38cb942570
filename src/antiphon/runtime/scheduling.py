"""How does a service keep events that are to be published later, and publish them when they are due?"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Protocol

from antiphon.brokers.ports import Broker, StoreBroker
from antiphon.errors import UnsupportedCapabilityError
from antiphon.events.clock import Clock
from antiphon.events.message import Outgoing
from antiphon.observability.metrics import Metrics
from antiphon.outbox.schedule import ScheduledPublishing
from antiphon.runtime.sending import Sending
from antiphon.storage.database import Database, Transaction
from antiphon.storage.schedule import Scheduled, cancel, list_scheduled, schedule

Keep = Callable[[Sequence[Outgoing], datetime], Awaitable[None]]
"""Keeps messages until that moment, and publishes them then."""


class KeepWith(Protocol):
    """The same, with whatever `tx` commits."""

    async def __call__(self, outgoing: Sequence[Outgoing], at: datetime, tx: Transaction | None = None) -> None: ...


class Scheduling:
    """What one service schedules, and the Runner that publishes whatever is due on its store."""

    def __init__(
        self, service: str, broker: Broker, store: Database, clock: Clock, metrics: Metrics, sending: Sending
    ) -> None:
        self._service, self._store = service, store
        self.runner = ScheduledPublishing(broker, store, clock, metrics, sending)

    async def keep(self, outgoing: Sequence[Outgoing], at: datetime, tx: Transaction | None = None) -> None:
        """Publish these at that moment: kept when `tx` commits, without one when this returns.

        What is kept already, by its id, stays as it is. Raises EncodeError, StoreError.
        """
        if tx is not None:
            await schedule(tx, outgoing, at)
            tx.after_commit(partial(self.runner.ring, at))
            return
        async with self._store.transaction() as own:
            await self.keep(outgoing, at, own)

    async def scheduled(self, topic: str | None, limit: int) -> Sequence[Scheduled]:
        """What this service scheduled and is not published yet, in the order of its moments."""
        return await list_scheduled(self._store, topic, self._service, limit)

    async def cancel(self, id: str, tx: Transaction | None = None) -> bool:
        """Whether it is certain that this one is never published: when `tx` commits, without one now."""
        if tx is not None:
            return bool(await cancel(tx, [id]))
        async with self._store.transaction() as own:
            return await self.cancel(id, own)


async def keep_nowhere(outgoing: Sequence[Outgoing], at: datetime, tx: Transaction | None = None) -> None:
    """For whoever runs handlers without a service. Raises UnsupportedCapabilityError."""
    raise UnsupportedCapabilityError("this handler's publisher", "schedule", f"nothing here keeps messages until {at}")


async def keep_at(store: Database, outgoing: Sequence[Outgoing], at: datetime) -> None:
    """Keep these for whichever service runs on this store then. Raises EncodeError, StoreError."""
    async with store.transaction() as tx:
        await schedule(tx, outgoing, at)


def schedule_of(broker: Broker) -> Database:
    """Where the messages wait that are to be published on this broker. Raises UnsupportedCapabilityError."""
    if not isinstance(broker, StoreBroker):
        raise UnsupportedCapabilityError(
            f"the broker {broker.url}", "database", "what is scheduled waits in one: schedule in a service"
        )
    return broker.database
