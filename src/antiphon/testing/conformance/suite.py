"""What the promises of a broker need to be tried: hooks for the adapter's test, and tools to read with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property, wraps
from typing import ClassVar, TypeVar

import pytest

from antiphon.brokers.ports import (
    DONE,
    Broker,
    Delivery,
    LogSubscription,
    Notice,
    NoticeKind,
    Partition,
    QueueSubscription,
    Settlement,
    SubscribeOptions,
    Subscription,
)
from antiphon.errors import UnsupportedCapabilityError
from antiphon.events.ids import new_id
from antiphon.events.message import Message, Outgoing

ROOM = 1 << 26
"""More bytes than any test reads at once."""
DEFAULTS = SubscribeOptions()
_Suite = TypeVar("_Suite", bound="BrokerSuite")
Promise = Callable[[_Suite, Broker], Awaitable[None]]


class BrokerSuite:
    """The hooks that an adapter's test may replace, and what the promises share.

    A subclass offers an async pytest fixture `broker`: an open broker that holds nothing of other tests, closed
    afterwards. Each promise names its topics and groups anew, so a server may be shared.
    """

    timeout: ClassVar[timedelta] = timedelta(seconds=10)
    """In real time: whatever must come and is not there after this is missing."""
    patience: ClassVar[timedelta] = timedelta(milliseconds=50)
    """In the broker's time: what has not come after this does not come."""
    lease: ClassVar[timedelta] = timedelta(seconds=30)
    """In the broker's time: after this a hold that was not extended is over."""

    def now(self) -> datetime:
        """The broker's time."""
        return datetime.now(UTC)

    async def elapse(self, duration: timedelta) -> None:
        """Let so much of the broker's time pass."""
        await asyncio.sleep(duration.total_seconds())

    async def evict(self, broker: Broker, subscription: Subscription) -> None:
        """Take everything from `subscription`, as when its process stalls for longer than its lease or hold."""
        raise NotImplementedError("the adapter's test has to say how a subscription loses what it holds")

    async def reopen(self, broker: Broker) -> Broker:
        """Close the broker without ado and open what it left behind; the fixture closes that, too."""
        raise UnsupportedCapabilityError(broker.url, "durable", "nothing is left of it after its end")

    async def retain(self, broker: Broker) -> None:
        """Let retention do its work now, where it does not work at each publish."""

    def in_time(self) -> asyncio.Timeout:
        """`async with`: what is in it must end before `timeout`."""
        return asyncio.timeout(self.timeout.total_seconds())

    def fresh(self, word: str) -> str:
        """A name that nobody uses."""
        return f"{word}-{new_id()[-12:]}"

    async def publish(self, broker: Broker, topic: str, count: int, *, keys: int = 4, size: int = 0) -> list[Message]:
        """Publish numbered messages, taking turns over some keys; returns them."""
        messages = [a_message(f"key-{n % keys}", f"{n:08}".encode().ljust(size, b".")) for n in range(count)]
        await broker.publish([Outgoing(topic, message) for message in messages])
        return messages

    async def join(
        self, broker: Broker, group: str, *topics: str, options: SubscribeOptions = DEFAULTS
    ) -> Subscription:
        return await broker.subscribe(group, topics, options)

    async def join_log(
        self, broker: Broker, group: str, *topics: str, options: SubscribeOptions = DEFAULTS
    ) -> LogSubscription:
        subscription = await broker.subscribe(group, topics, options)
        assert isinstance(subscription, LogSubscription)
        return subscription

    async def join_queue(self, broker: Broker, group: str, *topics: str) -> QueueSubscription:
        subscription = await broker.subscribe(group, topics)
        assert not isinstance(subscription, LogSubscription)
        return subscription

    async def receive(self, subscription: Subscription, count: int) -> list[Delivery]:
        """The next `count` deliveries; fails when they do not come."""
        received: list[Delivery] = []
        try:
            async with self.in_time():
                while len(received) < count:
                    self.hear(subscription)
                    received += await subscription.fetch(count - len(received), ROOM, self.timeout)
        except TimeoutError:
            pytest.fail(f"only {len(received)} of {count} messages came within {self.timeout}")
        self.hear(subscription)
        return received

    async def glance(self, subscription: Subscription, limit: int = 10_000) -> Sequence[Delivery]:
        """What comes, at most so many, while `patience` of the broker's time passes."""
        self.hear(subscription)
        fetching = asyncio.create_task(subscription.fetch(limit, ROOM, self.patience))
        await self.elapse(self.patience)
        async with self.in_time():
            return await fetching

    async def assert_silent(self, subscription: Subscription) -> None:
        """Nothing comes."""
        arrived = await self.glance(subscription)
        assert not arrived, f"nothing was to come, but {arrived[0]} did, and {len(arrived) - 1} more"

    async def finish(self, subscription: Subscription, deliveries: Sequence[Delivery]) -> None:
        """Settle these as done, whichever way the broker settles."""
        if isinstance(subscription, LogSubscription):
            await subscription.commit(watermarks(deliveries))
        else:
            await subscription.settle([Settlement(delivery, DONE) for delivery in deliveries])

    def hear(self, subscription: Subscription) -> Sequence[Notice]:
        """Read the notices, if there are any, and keep account of what the subscription owns."""
        if not isinstance(subscription, LogSubscription):
            return ()
        notices = subscription.notices()
        owned = self.owned.setdefault(id(subscription), set())
        for kind, partitions in notices:
            if kind is NoticeKind.ASSIGNED:
                owned.update(partitions)
            else:
                owned.difference_update(partitions)
        return notices

    @cached_property
    def owned(self) -> dict[int, set[Partition]]:
        """Which partitions each subscription has, by its identity, as its notices told."""
        return {}

    async def until_shared(self, members: Collection[Subscription], partitions: int) -> None:
        """Wait until each of these members of a log's group has some of the partitions, and all are given out."""
        async with self.in_time():
            while True:
                for member in members:
                    await self.assert_silent(member)
                    self.hear(member)
                shares = [self.owned[id(member)] for member in members]
                if all(shares) and sum(map(len, shares)) == partitions:
                    return


def requires(capability: str, refused: Promise[_Suite]) -> Callable[[Promise[_Suite]], Promise[_Suite]]:
    """A promise of brokers with `capability`; of the others it demands that `refused` is refused by name."""

    def decorate(promise: Promise[_Suite]) -> Promise[_Suite]:
        @wraps(promise)
        async def kept(self: _Suite, broker: Broker) -> None:
            if getattr(broker.capabilities, capability):
                await promise(self, broker)
            else:
                with pytest.raises(UnsupportedCapabilityError):
                    await refused(self, broker)

        return kept

    return decorate


def a_message(key: str | None = None, data: bytes | None = b"{}") -> Message:
    """A message like any other."""
    return Message(id=new_id(), type="SomethingHappened", time=datetime.now(UTC), data=data, key=key, source="suite")


def watermarks(deliveries: Sequence[Delivery]) -> dict[Partition, str]:
    """The position of the last of these deliveries in each partition."""
    return {delivery.partition: delivery.position for delivery in deliveries}


def ids(envelopes: Sequence[Message | Delivery]) -> list[str]:
    return [each.id if isinstance(each, Message) else each.message.id for each in envelopes]


def by_key(envelopes: Sequence[Message | Delivery]) -> dict[str | None, list[str]]:
    """The ids of each key, in order."""
    keyed: dict[str | None, list[str]] = {}
    for each in envelopes:
        message = each if isinstance(each, Message) else each.message
        keyed.setdefault(message.key, []).append(message.id)
    return keyed
