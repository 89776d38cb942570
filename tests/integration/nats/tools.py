"""What tests of the broker on NATS share: one of their own on the server of the run, and how its time passes."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from antiphon.brokers.connect import connect
from antiphon.brokers.nats import NatsBroker
from antiphon.brokers.nats.subscription import NatsSubscription
from antiphon.brokers.nats.table import Kept
from antiphon.brokers.ports import Broker, Subscription
from antiphon.events.ids import new_id


def a_broker(url: str, *, options: str = "") -> NatsBroker:
    """One whose topics and groups nobody else sees."""
    broker = connect(f"{url}/test-{new_id()[-12:]}?{options}")
    assert isinstance(broker, NatsBroker)
    return broker


async def silence(broker: Broker, subscription: Subscription) -> None:
    """Send no more signs of life for it, and let its leases be over, which the others notice."""
    assert isinstance(broker, NatsBroker)
    assert isinstance(subscription, NatsSubscription)
    assert subscription._keeping is not None
    subscription._keeping.cancel()
    table, group = subscription._table, subscription._group
    await table.leave(group, subscription.id)
    standing = await table.read(group, subscription._topics)
    await table.write([
        Kept(replace(kept.value, owner=None), kept.revision)
        for kept in standing.cursors.values()
        if kept.value.owner == subscription.id
    ])
    for other in tuple(broker._subscriptions):
        if other is not subscription:
            await other.keep_up()


async def retained(broker: Broker) -> None:
    """The server deletes by age a moment later."""
    await asyncio.sleep(0.5)
