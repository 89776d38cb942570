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
from antiphon.storage.database import Database, Transaction
from antiphon.storage.outbox import stage

PublishIn = Callable[[Transaction, Sequence[Outgoing]], Awaitable[None]]
"""Publishes when that transaction commits."""


class Staging:
    """The way out of one store. Where the store is not the broker's own, a relay publishes what was staged."""

    def __init__(
        self,
        broker: Broker,
        store: Database,
        clock: Clock,
        chance: Chance,
        metrics: Metrics,
        sending: Sending,
        publish: Publish,
    ) -> None:
        self._broker, self._clock, self._sending = broker, clock, sending
        token = "".join(f"{int(chance.draw() * 2**32):08x}" for _ in range(4))
        self.relay = None
        if not is_on(broker, store):
            self.relay = Relay(publish, store, clock, metrics, sending, token=token)

    async def publish_in(self, tx: Transaction, outgoing: Sequence[Outgoing]) -> None:
        """Publish these when `tx` commits: then the broker holds them, or the outbox does.

        Raises PublishError, EncodeError, StoreError.
        """
        if self.relay is None:
            await cast(StoreBroker, self._broker).publish_in(tx, outgoing)
            tx.after_commit(partial(self._sending.sent, outgoing))
        else:
            await stage(tx, outgoing, self._clock.now())
            tx.after_commit(self.relay.ring)

    async def is_at_rest(self) -> bool:
        """Whether nothing waits to be published."""
        return self.relay is None or await self.relay.is_at_rest()


async def publish_nowhere(tx: Transaction, outgoing: Sequence[Outgoing]) -> None:
    """For whoever runs handlers without a service. Raises UnsupportedCapabilityError."""
    raise UnsupportedCapabilityError("this handler's transaction", "publish", f"{len(outgoing)} events go nowhere here")
