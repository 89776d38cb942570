"""Services keep their promises on NATS, with their tables in a store beside, and a relay between."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from antiphon.brokers.nats import NatsBroker
from antiphon.brokers.ports import Broker
from antiphon.storage.database import Database
from antiphon.storage.sqlite import SqliteDatabase
from antiphon.testing.scenarios import PatienceScenarios
from tests.conformance.test_scenarios_beside import Beside
from tests.integration.nats.tools import a_broker, retained, silence


class TestNats(Beside):
    # They publish a message twice, which the server recognizes.
    test_without_the_inbox_the_same_message_takes_effect_twice = None
    test_what_a_handler_emits_twice_has_the_same_ids = None

    evict = staticmethod(silence)
    retain = staticmethod(retained)

    @pytest.fixture
    async def broker(self, tmp_path: Path, nats_server: str) -> AsyncIterator[Broker]:
        self.opened: NatsBroker = a_broker(nats_server)
        self.own = SqliteDatabase(tmp_path / "own.db")
        await self.opened.open()
        await self.own.open()
        yield self.opened
        await self.opened.close()
        await self.own.close()


class TestPatientNats(PatienceScenarios):
    lease = timedelta(seconds=1.5)

    @pytest.fixture
    async def broker(self, nats_server: str) -> AsyncIterator[Broker]:
        self.own = SqliteDatabase(":memory:")
        broker = a_broker(nats_server, options="lease=1.5s")
        await broker.open()
        await self.own.open()
        yield broker
        await broker.close()
        await self.own.close()

    def beside(self, broker: Broker) -> Database:
        return self.own
