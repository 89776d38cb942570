"""Kafka keeps every promise of a log."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest
from msgspec import structs

from antiphon.brokers.kafka import KafkaBroker, KafkaOptions
from antiphon.brokers.ports import Broker
from antiphon.testing.conformance import LogConformance
from antiphon.testing.servers import KafkaServer
from tests.integration.kafka.meddling import evict, retain

OPTIONS = KafkaOptions(lease=timedelta(seconds=6), beat=timedelta(milliseconds=100), grace=timedelta(seconds=3))


class OnKafka:
    timeout = timedelta(seconds=20)
    patience = timedelta(milliseconds=300)
    evict = staticmethod(evict)
    retain = staticmethod(retain)


class TestKafka(OnKafka, LogConformance):
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


HASTY = {"group.consumer.heartbeat.interval.ms": "200", "group.consumer.min.heartbeat.interval.ms": "100"}
"""What only the cluster decides of groups by KIP-848."""


@pytest.fixture(scope="module")
def own_server() -> Iterator[str]:
    """The address of a cluster whose settings are the test's."""
    with KafkaServer(settings=HASTY) as server:
        yield server.address


class TestKafkaWithGroupsOfTheCluster(OnKafka, LogConformance):
    # It is about topics, and takes long.
    test_a_thousand_destinations_cost_nothing_but_their_messages = None

    @pytest.fixture
    async def broker(self, own_server: str) -> AsyncIterator[Broker]:
        self.current = KafkaBroker(own_server, structs.replace(OPTIONS, protocol="consumer"))
        await self.current.open()
        yield self.current
        await self.current.close()

    async def reopen(self, broker: Broker) -> Broker:
        await self.current.close()
        await self.current.open()
        return self.current
