"""How does a member look whose process has hung for longer than its lease?"""

from __future__ import annotations

from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.brokers.embedded.subscription import EmbeddedSubscription
from antiphon.brokers.ports import Broker, Subscription


async def silence(broker: Broker, subscription: Subscription) -> None:
    """Send no more heartbeats for it until it fetches again, and let its lease be over, which the others notice."""
    assert isinstance(broker, EmbeddedBroker)
    assert isinstance(subscription, EmbeddedSubscription)
    broker._subscriptions.remove(subscription)
    async with broker.database.transaction() as tx:
        await tx.execute("update antiphon_log_members set heard = 0 where id = ?", subscription.id)
        await tx.execute("update antiphon_log_cursors set expires = 0 where owner = ?", subscription.id)
    for other in tuple(broker._subscriptions):
        await other.keep_up()
