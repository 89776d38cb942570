"""Services keep their promises on Kafka, with their tables in a store beside, and a relay between."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from antiphon.brokers.kafka import KafkaBroker, KafkaOptions
from antiphon.brokers.ports import Broker
from antiphon.storage.database import Database
from antiphon.storage.sqlite import SqliteDatabase
from antiphon.testing.scenarios import PatienceScenarios
from antiphon.testing.servers import KafkaServer
from tests.conformance.test_scenarios_beside import Beside
from tests.integration.kafka.emptying import empty
from tests.integration.kafka.meddling import evict, retain

OPTIONS = KafkaOptions(lease=timedelta(seconds=6), beat=timedelta(milliseconds=100), grace=timedelta(seconds=3))


@pytest.fixture(scope="module")
def own_server() -> Iterator[str]:
    """The address of a cluster in which services of every test may have the same names."""
    with KafkaServer() as server:
        yield server.address


class OnKafka:
    own: Database

    @pytest.fixture
    async def broker(self, own_server: str, tmp_path: Path) -> AsyncIterator[Broker]:
        await empty(own_server)
        self.own = SqliteDatabase(tmp_path / "own.db")
        broker = KafkaBroker(own_server, OPTIONS)
        await broker.open()
        await self.own.open()
        yield broker
        await broker.close()
        await self.own.close()


class TestKafka(OnKafka, Beside):
    timeout = timedelta(seconds=20)
    patience = timedelta(milliseconds=300)
    evict = staticmethod(evict)
    retain = staticmethod(retain)


class TestPatientKafka(OnKafka, PatienceScenarios):
    timeout = timedelta(seconds=20)
    patience = timedelta(milliseconds=300)
    lease = OPTIONS.lease

    def beside(self, broker: Broker) -> Database:
        return self.own
