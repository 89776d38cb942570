"""Services keep their promises on RabbitMQ, their tables in a store beside it."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from antiphon.brokers.ports import Broker, Subscription
from antiphon.storage.database import Database
from antiphon.storage.sqlite import SqliteDatabase
from antiphon.testing.scenarios import PatienceScenarios
from tests.conformance.test_scenarios_beside import Beside
from tests.integration.rabbitmq.brokers import a_broker, a_prefix, remove


class TestRabbit(Beside):
    @pytest.fixture
    async def broker(self, rabbitmq_server: str) -> AsyncIterator[Broker]:
        prefix = a_prefix()
        broker = a_broker(rabbitmq_server, prefix)
        self.own = SqliteDatabase(":memory:")
        await broker.open()
        await self.own.open()
        yield broker
        await broker.close()
        await self.own.close()
        await remove(rabbitmq_server, prefix)

    async def evict(self, broker: Broker, subscription: Subscription) -> None:
        subscription.expire()  # type: ignore[union-attr]  # the adapter's own


class TestPatientRabbit(PatienceScenarios):
    lease = timedelta(seconds=1.5)

    @pytest.fixture
    async def broker(self, rabbitmq_server: str) -> AsyncIterator[Broker]:
        prefix = a_prefix()
        broker = a_broker(rabbitmq_server, prefix, hold="1500ms")
        self.own = SqliteDatabase(":memory:")
        await broker.open()
        await self.own.open()
        yield broker
        await broker.close()
        await self.own.close()
        await remove(rabbitmq_server, prefix)

    def beside(self, broker: Broker) -> Database:
        return self.own
