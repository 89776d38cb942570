"""RabbitMQ keeps every promise of a queue."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from antiphon.brokers.ports import Broker, Subscription
from antiphon.brokers.rabbitmq import RabbitBroker
from antiphon.testing.conformance import QueueConformance
from tests.integration.rabbitmq.brokers import a_broker, a_prefix, remove


class TestRabbit(QueueConformance):
    lease = timedelta(seconds=1.5)

    @pytest.fixture
    async def broker(self, rabbitmq_server: str) -> AsyncIterator[Broker]:
        prefix = a_prefix()
        self.current = a_broker(rabbitmq_server, prefix, hold="1s", max_message_bytes=str(2 << 20))
        await self.current.open()
        yield self.current
        await self.current.close()
        await remove(rabbitmq_server, prefix)

    async def evict(self, broker: Broker, subscription: Subscription) -> None:
        subscription.expire()  # type: ignore[union-attr]  # the adapter's own

    async def reopen(self, broker: Broker) -> RabbitBroker:
        await self.current.close()
        await self.current.open()
        return self.current
