"""Promises about fetching: its limits, its patience, and that stopping it loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from datetime import timedelta

import pytest

from antiphon.brokers.ports import Broker, Delivery, Subscription
from antiphon.errors import ClosedError
from antiphon.testing.conformance.suite import ROOM, BrokerSuite, by_key, ids


class FetchingConformance(BrokerSuite):
    """A fetch returns what it may, when it may, and can be stopped at any moment."""

    async def subscribed(self, broker: Broker) -> tuple[Subscription, str]:
        topic = self.fresh("topic")
        return await self.join(broker, self.fresh("group"), topic), topic

    async def ended(self, fetching: Awaitable[Sequence[Delivery]]) -> Sequence[Delivery]:
        """What a fetch returns that has to end now."""
        async with self.in_time():
            return await fetching

    async def test_the_limit_is_respected(self, broker: Broker) -> None:
        subscription, topic = await self.subscribed(broker)
        await self.publish(broker, topic, 30)
        received = 0
        async with self.in_time():
            while received < 30:
                deliveries = await subscription.fetch(7, ROOM, self.timeout)
                assert 1 <= len(deliveries) <= 7
                received += len(deliveries)
        assert received == 30

    async def test_the_size_is_respected_but_one_message_always_comes(self, broker: Broker) -> None:
        subscription, topic = await self.subscribed(broker)
        await self.publish(broker, topic, 20, size=10_000)
        received = 0
        async with self.in_time():
            while received < 20:
                max_bytes, most = (35_000, 4) if received % 2 else (1, 1)
                deliveries = await subscription.fetch(100, max_bytes, self.timeout)
                assert 1 <= len(deliveries) <= most
                received += len(deliveries)
        assert received == 20

    async def test_a_fetch_of_nothing_returns_when_its_wait_is_over(self, broker: Broker) -> None:
        subscription, _ = await self.subscribed(broker)
        await self.assert_silent(subscription)
        self.hear(subscription)
        wait = 3 * self.patience
        began = self.now()
        fetching = asyncio.create_task(subscription.fetch(10, ROOM, wait))
        await self.elapse(wait)
        assert not await self.ended(fetching)
        assert self.now() - began >= 0.9 * wait

    async def test_a_fetch_without_a_wait_returns_at_once(self, broker: Broker) -> None:
        subscription, _ = await self.subscribed(broker)
        fetching = subscription.fetch(10, ROOM, timedelta())
        assert not await self.ended(fetching)

    async def test_a_waiting_fetch_returns_as_soon_as_something_comes(self, broker: Broker) -> None:
        subscription, topic = await self.subscribed(broker)
        await self.assert_silent(subscription)
        self.hear(subscription)
        fetching = asyncio.create_task(subscription.fetch(10, ROOM, 100 * self.timeout))
        await asyncio.sleep(0.01)
        (sent,) = await self.publish(broker, topic, 1)
        assert ids(await self.ended(fetching)) == [sent.id]

    async def test_a_canceled_fetch_loses_nothing(self, broker: Broker) -> None:
        subscription, topic = await self.subscribed(broker)
        received: list[Delivery] = []
        sent: list[str] = []
        for round_ in range(60):
            fetching = asyncio.create_task(subscription.fetch(3, ROOM, self.timeout))
            sent += ids(await self.publish(broker, topic, 2))
            for _ in range(round_ % 9):
                await asyncio.sleep(0)
            fetching.cancel()
            received += await _unless_canceled(fetching)
        received += await self.receive(subscription, len(sent) - len(received))
        assert sorted(ids(received)) == sorted(sent)
        await self.assert_silent(subscription)

    async def test_closing_ends_a_waiting_fetch(self, broker: Broker) -> None:
        subscription, _ = await self.subscribed(broker)
        fetching = asyncio.create_task(subscription.fetch(10, ROOM, 100 * self.timeout))
        await asyncio.sleep(0.01)
        await subscription.close()
        assert not await self.ended(fetching)

    async def test_closing_the_broker_ends_its_subscriptions(self, broker: Broker) -> None:
        subscription, _ = await self.subscribed(broker)
        fetching = asyncio.create_task(subscription.fetch(10, ROOM, 100 * self.timeout))
        await asyncio.sleep(0.01)
        await broker.close()
        assert not await self.ended(fetching)
        with pytest.raises(ClosedError):
            await subscription.fetch(10, ROOM, self.patience)

    async def test_a_closed_subscription_refuses_to_be_used(self, broker: Broker) -> None:
        subscription, topic = await self.subscribed(broker)
        await self.publish(broker, topic, 1)
        deliveries = await self.receive(subscription, 1)
        await subscription.close()
        await subscription.close()
        with pytest.raises(ClosedError):
            await subscription.fetch(10, ROOM, self.patience)
        with pytest.raises(ClosedError):
            await self.finish(subscription, deliveries)

    async def test_positions_tell_deliveries_of_a_partition_apart(self, broker: Broker) -> None:
        subscription, topic = await self.subscribed(broker)
        sent = await self.publish(broker, topic, 40)
        deliveries = await self.receive(subscription, 40)
        assert len({(delivery.partition, delivery.position) for delivery in deliveries}) == 40
        assert by_key(deliveries).keys() == by_key(sent).keys()
        assert all(delivery.attempt == 1 for delivery in deliveries)


async def _unless_canceled(fetching: asyncio.Task[Sequence[Delivery]]) -> Sequence[Delivery]:
    try:
        return await fetching
    except asyncio.CancelledError:
        return ()
