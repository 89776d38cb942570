"""What do the shop's events travel on in one run, and how do orders get there?"""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.brokers.ports import Broker, StoreBroker
from antiphon.storage.database import Database
from antiphon.storage.sqlite import SqliteDatabase
from examples.shop.brokers import broker_at, open_for_a_new_shop
from examples.shop.storefront.feed import WayOut
from examples.shop.storefront.staged import StagedWay

FILE = "shop.db"


class Road:
    """The broker, and the way out of the storefront: into the broker's own database, or by an outbox in a file."""

    def __init__(self, url: str | None, folder: Path) -> None:
        embedded = EmbeddedBroker(folder / FILE)
        self.broker: Broker = embedded if url is None else broker_at(url)
        self.url = embedded.url if url is None else url
        """With its secrets."""
        self.way: WayOut
        if isinstance(self.broker, StoreBroker):
            self.way = self.broker
        else:
            self.way = StagedWay(self.broker, SqliteDatabase(folder / FILE))
        self._stack = AsyncExitStack()

    @property
    def database(self) -> Database:
        """Where the storefront keeps its tables, and services without a store of their own do."""
        return self.way.database

    async def open(self) -> None:
        """Open them. Raises BrokerChoiceError, StoreError."""
        self._stack.push_async_callback(self.broker.close)
        await open_for_a_new_shop(self.broker)
        if isinstance(self.way, StagedWay):
            self._stack.push_async_callback(self.way.close)
            await self.way.open()

    async def close(self) -> None:
        """Close them; what waits in the outbox leaves first. Twice is safe."""
        await self._stack.aclose()
