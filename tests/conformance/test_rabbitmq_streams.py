"""RabbitMQ's streams keep every promise of a log but those of retention, which is the server's to declare."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from antiphon.brokers.ports import Broker, Subscription, TopicSpec
from antiphon.brokers.rabbitmq.log_subscription import RabbitLogSubscription
from antiphon.errors import UnsupportedCapabilityError
from antiphon.testing.conformance.brokers import BrokerConformance
from antiphon.testing.conformance.log import (
    LagConformance,
    LogFetchingConformance,
    PausingConformance,
    ReplayConformance,
    WatermarkConformance,
)
from antiphon.testing.conformance.topic_pauses import LogTopicPauseConformance
from tests.integration.rabbitmq.brokers import a_log, a_prefix, remove_log


class TestRabbitStreams(
    LogFetchingConformance,
    WatermarkConformance,
    PausingConformance,
    LogTopicPauseConformance,
    LagConformance,
    ReplayConformance,
    BrokerConformance,
):
    lease = timedelta(seconds=1.5)
    patience = timedelta(milliseconds=200)

    @pytest.fixture
    async def broker(self, rabbitmq_server: str) -> AsyncIterator[Broker]:
        prefix = a_prefix()
        self.current = a_log(rabbitmq_server, prefix, lease="1500ms", grace="1s", max_message_bytes=f"{2 << 20}")
        await self.current.open()
        yield self.current
        await self.current.close()
        await remove_log(rabbitmq_server, prefix)

    async def evict(self, broker: Broker, subscription: Subscription) -> None:
        assert isinstance(subscription, RabbitLogSubscription)
        subscription.stall()
        async with self.in_time():
            await subscription.is_replaced()

    async def reopen(self, broker: Broker) -> Broker:
        await self.current.close()
        await self.current.open()
        return self.current

    async def test_retention_is_refused_by_name(self, broker: Broker) -> None:
        with pytest.raises(UnsupportedCapabilityError, match=r"retention.*set_policy"):
            await broker.ensure_topic(TopicSpec(self.fresh("topic"), keep_bytes=1 << 20))
