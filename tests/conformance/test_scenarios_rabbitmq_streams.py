"""Services keep their promises on RabbitMQ's streams, their tables in a store beside them."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from antiphon.brokers.ports import Broker, Subscription, TopicSpec
from antiphon.brokers.rabbitmq import log_broker
from antiphon.brokers.rabbitmq.log_subscription import RabbitLogSubscription
from antiphon.storage.database import Database
from antiphon.storage.sqlite import SqliteDatabase
from antiphon.testing.scenarios import PatienceScenarios
from antiphon.testing.scenarios.suite import orders
from tests.conformance.test_scenarios_beside import Beside
from tests.integration.rabbitmq.brokers import a_log, a_prefix, remove_log

LITTLE = {"x-queue-type": "stream", "x-max-length-bytes": 10_000, "x-stream-max-segment-size-bytes": 10_000}
"""With files so short that some are deleted; in far shorter ones the last may hold nothing yet."""


class OnStreams:
    own: Database

    @pytest.fixture
    async def broker(self, rabbitmq_server: str) -> AsyncIterator[Broker]:
        prefix = a_prefix()
        broker = a_log(rabbitmq_server, prefix, lease="1500ms", grace="1s")
        self.own = SqliteDatabase(":memory:")
        await broker.open()
        await self.own.open()
        yield broker
        await broker.close()
        await self.own.close()
        await remove_log(rabbitmq_server, prefix)


class TestRabbitStreams(OnStreams, Beside):
    @pytest.fixture(autouse=True)
    def little_is_kept(self, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where a test declares how much a topic keeps, its streams are made so, as a policy would do it."""
        ensure = broker.ensure_topic

        async def ensured(spec: TopicSpec) -> None:
            if spec.keep_bytes is not None:
                monkeypatch.setattr(log_broker, "log_arguments", lambda: LITTLE)
            await ensure(TopicSpec(spec.name, spec.partitions))

        monkeypatch.setattr(broker, "ensure_topic", ensured)

    async def retain(self, broker: Broker) -> None:
        """A file of a stream is deleted once others were begun after it."""
        for _ in range(5):
            await self.place(broker, *orders(200))

    async def evict(self, broker: Broker, subscription: Subscription) -> None:
        assert isinstance(subscription, RabbitLogSubscription)
        subscription.stall()
        async with self.in_time():
            await subscription.is_replaced()


class TestPatientRabbitStreams(OnStreams, PatienceScenarios):
    lease = timedelta(seconds=1.5)

    def beside(self, broker: Broker) -> Database:
        return self.own
