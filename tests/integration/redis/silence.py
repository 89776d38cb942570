"""How does a member look whose process has hung for longer than its lease?"""

from __future__ import annotations

from antiphon.brokers.ports import Broker, Subscription
from antiphon.brokers.redis import RedisBroker
from antiphon.brokers.redis.subscription import RedisSubscription


async def silence(broker: Broker, subscription: Subscription) -> None:
    """Send no more heartbeats for it until it fetches again, and let its lease be over, which the others notice."""
    assert isinstance(broker, RedisBroker)
    assert isinstance(subscription, RedisSubscription)
    broker._subscriptions.remove(subscription)
    subscription._reader._on_news = lambda: None
    group, prefix = subscription._membership.group, broker._options.prefix
    members = f"{prefix}:members:{group}"
    text = await broker.native.hget(members, subscription.id)
    await broker.native.hset(members, subscription.id, b"0 " + text.partition(b" ")[2])
    for other in tuple(broker._subscriptions):
        await other.keep_up()
