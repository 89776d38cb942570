"""The broker on NATS keeps every promise of a log."""

from collections.abc import AsyncIterator

import pytest

from antiphon.brokers.nats import NatsBroker
from antiphon.brokers.ports import Broker
from antiphon.testing.conformance import LogConformance
from tests.integration.nats.tools import a_broker, retained, silence


class TestNats(LogConformance):
    evict = staticmethod(silence)
    retain = staticmethod(retained)

    @pytest.fixture
    async def broker(self, nats_server: str) -> AsyncIterator[Broker]:
        self.current: NatsBroker = a_broker(nats_server)
        await self.current.open()
        yield self.current
        await self.current.close()

    async def reopen(self, broker: Broker) -> Broker:
        await self.current.close()
        await self.current.open()
        return self.current
