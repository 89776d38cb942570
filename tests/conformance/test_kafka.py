"""Kafka keeps every promise of a log."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from antiphon.brokers.kafka import KafkaBroker, KafkaOptions
from antiphon.brokers.ports import Broker
from antiphon.testing.conformance import LogConformance
from tests.integration.kafka.meddling import evict, retain

OPTIONS = KafkaOptions(lease=timedelta(seconds=6), beat=timedelta(milliseconds=100), grace=timedelta(seconds=3))


class TestKafka(LogConformance):
    timeout = timedelta(seconds=20)
    patience = timedelta(milliseconds=300)
    evict = staticmethod(evict)
    retain = staticmethod(retain)

    @pytest.fixture
    async def broker(self, kafka_server: str) -> AsyncIterator[Broker]:
        self.current = KafkaBroker(kafka_server.removeprefix("kafka://"), OPTIONS)
        await self.current.open()
        yield self.current
        await self.current.close()

    async def reopen(self, broker: Broker) -> Broker:
        await self.current.close()
        await self.current.open()
        return self.current
