"""Services keep their promises on the broker in PostgreSQL: with their tables beside it, in one commit, and apart."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from antiphon.brokers.ports import Broker, Subscription
from antiphon.brokers.postgres import PostgresBroker
from antiphon.storage.sqlite import SqliteDatabase
from antiphon.testing.scenarios import PatienceScenarios
from tests.conformance.test_scenarios import Every
from tests.conformance.test_scenarios_beside import Beside
from tests.integration.postgres_broker.silence import silence


class OnPostgres(Every):
    opened: PostgresBroker

    async def evict(self, broker: Broker, subscription: Subscription) -> None:
        await silence(self.opened, subscription)

    async def retain(self, broker: Broker) -> None:
        await self.opened.clean()


class TestTogether(OnPostgres):
    """The services' store is the broker's own database: one commit holds everything."""

    # It fills a file of SQLite's.
    test_a_full_disk_is_waited_for_whatever_the_handler_makes_of_it = None

    @pytest.fixture
    async def broker(self, postgres_url: str) -> AsyncIterator[Broker]:
        self.opened = PostgresBroker(postgres_url)
        await self.opened.open()
        yield self.opened
        await self.opened.close()


class TestBeside(Beside, OnPostgres):
    """The log on a server, the store in a file."""

    @pytest.fixture
    async def broker(self, tmp_path: Path, postgres_url: str) -> AsyncIterator[Broker]:
        self.opened = PostgresBroker(postgres_url)
        self.own = SqliteDatabase(tmp_path / "store.db")
        await self.opened.open()
        await self.own.open()
        yield self.opened
        await self.opened.close()
        await self.own.close()


class TestPatient(PatienceScenarios):
    lease = timedelta(seconds=1.5)

    @pytest.fixture
    async def broker(self, postgres_url: str) -> AsyncIterator[Broker]:
        broker = PostgresBroker(postgres_url, lease=self.lease, beat=timedelta(milliseconds=50))
        await broker.open()
        yield broker
        await broker.close()
