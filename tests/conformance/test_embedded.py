"""The broker in a file keeps every promise of a log."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.brokers.ports import Broker
from antiphon.testing.conformance import LogConformance
from tests.integration.embedded.silence import silence


class TestEmbedded(LogConformance):
    evict = staticmethod(silence)

    @pytest.fixture
    async def broker(self, tmp_path: Path) -> AsyncIterator[Broker]:
        self.current = EmbeddedBroker(tmp_path / "log.db", max_message_bytes=2 << 20)
        await self.current.open()
        yield self.current
        await self.current.close()

    async def reopen(self, broker: Broker) -> Broker:
        await self.current.close()
        await self.current.open()
        return self.current

    async def retain(self, broker: Broker) -> None:
        await self.current.clean()
