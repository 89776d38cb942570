"""How does a member look whose process has hung for longer than its lease?"""

from __future__ import annotations

from antiphon.brokers.ports import Broker, Subscription
from antiphon.brokers.postgres import PostgresBroker
from antiphon.brokers.postgres.subscription import PostgresSubscription


async def silence(broker: Broker, subscription: Subscription) -> None:
    """Send no more heartbeats for it until it fetches again, and let its lease be over, which the others notice."""
    assert isinstance(broker, PostgresBroker)
    assert isinstance(subscription, PostgresSubscription)
    broker._subscriptions.remove(subscription)
    async with broker.database.transaction() as tx:
        await tx.execute("update antiphon_log_members set silent_at = 0 where id = ?", subscription.id)
    for other in tuple(broker._subscriptions):
        await other.keep_up()
