"""How do orders leave with the storefront's transaction for a broker that has no place for its tables?"""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.brokers.ports import Broker
from antiphon.events.clock import SystemClock
from antiphon.events.message import Outgoing
from antiphon.observability.hooks import Hooks
from antiphon.observability.metrics import Metrics
from antiphon.outbox.relay import Relay
from antiphon.runtime.sending import Sending
from antiphon.storage.database import Database, Transaction
from antiphon.storage.outbox import stage


class StagedWay:
    """They rest in the outbox beside the storefront's tables, and a relay carries them to the broker."""

    def __init__(self, broker: Broker, store: Database) -> None:
        self.database = store
        self._broker, self._clock, metrics = broker, SystemClock(), Metrics()
        sending = Sending("storefront", broker, metrics, Hooks(metrics))
        self._relay = Relay(broker.publish, store, self._clock, metrics, sending)
        self._is_open = False

    async def open(self) -> None:
        """Open the store, and begin to carry. The broker is open already. Raises StoreError."""
        await self.database.open()
        self._is_open = True
        await self._relay.start()

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        """As `Broker.publish`, with no transaction to leave with."""
        await self._broker.publish(outgoing)

    async def publish_in(self, tx: Transaction, outgoing: Sequence[Outgoing]) -> None:
        """Let the broker have these once `tx` has committed. Raises EncodeError, StoreError."""
        await stage(tx, outgoing, self._clock.now())
        tx.after_commit(self._relay.ring)

    async def close(self) -> None:
        """Carry what is left, then close the store. Twice is safe."""
        if self._is_open:
            self._is_open = False
            await self._relay.drain()
            await self.database.close()
