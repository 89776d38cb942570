"""The broker in a PostgreSQL database keeps every promise of a log."""

from collections.abc import AsyncIterator

import pytest

from antiphon.brokers.ports import Broker
from antiphon.brokers.postgres import PostgresBroker
from antiphon.testing.conformance import LogConformance
from tests.integration.postgres_broker.silence import silence


class TestPostgres(LogConformance):
    evict = staticmethod(silence)

    @pytest.fixture
    async def broker(self, postgres_url: str) -> AsyncIterator[Broker]:
        self.current = PostgresBroker(postgres_url, max_message_bytes=2 << 20)
        await self.current.open()
        yield self.current
        await self.current.close()

    async def reopen(self, broker: Broker) -> Broker:
        await self.current.close()
        await self.current.open()
        return self.current

    async def retain(self, broker: Broker) -> None:
        await self.current.clean()
