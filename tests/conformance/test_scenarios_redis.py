"""Services keep their promises on Redis Streams, with their tables in a store of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from antiphon.brokers import connect
from antiphon.brokers.ports import Broker
from antiphon.brokers.redis import RedisBroker
from antiphon.events.ids import new_id
from antiphon.storage.database import Database
from antiphon.storage.sqlite import SqliteDatabase
from antiphon.testing.scenarios import PatienceScenarios
from tests.conformance.test_scenarios import Every
from tests.conformance.test_scenarios_beside import Beside
from tests.integration.redis.silence import silence


class TestRedis(Beside, Every):
    evict = staticmethod(silence)

    @pytest.fixture
    async def broker(self, valkey_server: str) -> AsyncIterator[Broker]:
        opened = connect(f"{valkey_server}?prefix={new_id()[-12:]}")
        assert isinstance(opened, RedisBroker)
        self.opened = opened
        self.own = SqliteDatabase(":memory:")
        await self.opened.open()
        await self.own.open()
        yield self.opened
        await self.opened.close()
        await self.own.close()

    async def retain(self, broker: Broker) -> None:
        await self.opened.clean()


class TestPatientRedis(PatienceScenarios):
    lease = timedelta(seconds=1.5)

    @pytest.fixture
    async def broker(self, redis_server: str) -> AsyncIterator[Broker]:
        broker = connect(f"{redis_server}?prefix={new_id()[-12:]}&lease=1.5s")
        self.own = SqliteDatabase(":memory:")
        await broker.open()
        await self.own.open()
        yield broker
        await broker.close()
        await self.own.close()

    def beside(self, broker: Broker) -> Database:
        return self.own
