"""The process that is killed: it publishes what is due, or hangs while it does.

`python -m tests.torture.due ROLE LOG`: `together` on the log's own store; `leased` on a store of its own beside it;
`claims` and `publishes` are leased, and hang before and after they have published.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.brokers.ports import Broker
from antiphon.events.clock import SystemClock
from antiphon.events.message import Outgoing
from antiphon.observability.hooks import Hooks
from antiphon.observability.metrics import Metrics
from antiphon.outbox.schedule import ScheduledPublishing
from antiphon.runtime.sending import Sending
from antiphon.storage.database import Database
from antiphon.storage.sqlite import SqliteDatabase
from antiphon.testing.sabotage import Saboteur

HOLD = timedelta(seconds=1)


class Hanging(Saboteur):
    """Hangs for good at its first publish."""

    def __init__(self, broker: Broker, *, publishes: bool) -> None:
        super().__init__(broker)
        self._publishes = publishes

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        if self._publishes:
            await super().publish(outgoing)
        await asyncio.Event().wait()


def store_beside(log: Path) -> SqliteDatabase:
    """Where the leased ones keep their schedule."""
    return SqliteDatabase(log.with_suffix(".store"))


def scheduled_publishing(broker: Broker, store: Database) -> ScheduledPublishing:
    """The Runner, with a short hold."""
    metrics = Metrics(service="due")
    sending = Sending("due", broker, metrics, Hooks(metrics))
    return ScheduledPublishing(broker, store, SystemClock(), metrics, sending, HOLD)


async def main(role: str, log: Path) -> None:
    embedded = EmbeddedBroker(log)
    await embedded.open()
    store = embedded.database if role == "together" else store_beside(log)
    await store.open()
    hangs = role in ("claims", "publishes")
    broker = Hanging(embedded, publishes=role == "publishes") if hangs else embedded
    await scheduled_publishing(broker, store).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
