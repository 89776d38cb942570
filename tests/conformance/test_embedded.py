"""The broker in a file keeps every promise of a log."""

from collections.abc import AsyncIterator
from os import PathLike
from pathlib import Path

import pytest

from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.brokers.ports import Broker, Subscription
from antiphon.testing.conformance import LogConformance
from tests.integration.embedded.silence import silence


class TestEmbedded(LogConformance):
    @pytest.fixture
    async def broker(self, tmp_path: Path) -> AsyncIterator[Broker]:
        yield await self.start(tmp_path / "log.db")
        await self.current.close()

    async def start(self, path: str | PathLike[str]) -> Broker:
        self.current = EmbeddedBroker(path, max_message_bytes=2 << 20)
        await self.current.open()
        return self.current

    async def reopen(self, broker: Broker) -> Broker:
        await broker.close()
        return await self.start(self.current.database.path)

    async def retain(self, broker: Broker) -> None:
        await self.current.clean()

    async def evict(self, broker: Broker, subscription: Subscription) -> None:
        await silence(self.current, subscription)
