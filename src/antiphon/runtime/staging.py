"""How do events leave that commit with a transaction: in the broker's own database at once, else by the outbox."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import cast

from antiphon.brokers.ports import Broker, StoreBroker
from antiphon.errors import UnsupportedCapabilityError
from antiphon.events.clock import Clock
from antiphon.events.message import Outgoing
from antiphon.observability.metrics import Metrics
from antiphon.outbox.due import is_on
from antiphon.outbox.posting import Publish
from antiphon.outbox.relay import Relay
from antiphon.runtime.chance import Chance
from antiphon.runtime.sending import Sending
from antiphon.runtime.storeless import is_missing
from antiphon.storage.database import Database, Transaction
from antiphon.storage.outbox import stage
from antiphon.storage.outboxes import OutboxTable

PublishIn = Callable[[Transaction, Sequence[Outgoing]], Awaitable[None]]
"""Publishes when that transaction commits."""


class Staging:
    """The way out of one store. Where the store is not the broker's own, a relay publishes what was staged.

    With an `outbox` events go through that one in any case.
    """

    def __init__(
        self,
        broker: Broker,
        store: Database,
        clock: Clock,
        chance: Chance,
        metrics: Metrics,
        sending: Sending,
        publish: Publish,
        outbox: OutboxTable | None = None,
    ) -> None:
        self._broker, self._store, self._clock, self._sending = broker, store, clock, sending
        self._outbox = outbox
        token = "".join(f"{int(chance.draw() * 2**32):08x}" for _ in range(4))
        self.relay = None
        if has_relay(broker, store, outbox):
            self.relay = Relay(publish, store, clock, metrics, sending, token=token, outbox=outbox)

    async def open(self) -> None:
        """Make what is missing of the outbox. Raises StoreError, UnsupportedCapabilityError."""
        if self._outbox is not None:
            await self._outbox.make(self._store)

    async def publish_in(self, tx: Transaction, outgoing: Sequence[Outgoing]) -> None:
        """Publish these when `tx` commits: then the broker holds them, or the outbox does.

        Raises PublishError, EncodeError, StoreError.
        """
        if self._outbox is not None:
            await self._outbox.stage(tx, outgoing, self._clock.now())
        elif self.relay is None:
            await cast(StoreBroker, self._broker).publish_in(tx, outgoing)
            tx.after_commit(partial(self._sending.sent, outgoing))
        else:
            await stage(tx, outgoing, self._clock.now())
        if self.relay is not None:
            tx.after_commit(self.relay.ring)

    async def is_at_rest(self) -> bool:
        """Whether nothing waits to be published."""
        return self.relay is None or await self.relay.is_at_rest()


def has_relay(broker: Broker, store: Database, outbox: OutboxTable | None) -> bool:
    """Whether a relay publishes what transactions of the store emit."""
    if outbox is not None:
        return outbox.is_relayed
    return not is_missing(store) and not is_on(broker, store)


async def publish_nowhere(tx: Transaction, outgoing: Sequence[Outgoing]) -> None:
    """For whoever runs handlers without a service. Raises UnsupportedCapabilityError."""
    raise UnsupportedCapabilityError("this handler's transaction", "publish", f"{len(outgoing)} events go nowhere here")
