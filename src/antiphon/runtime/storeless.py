"""What stands where a store would, in a service that only publishes on a broker without a database?"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import NoReturn, TypeGuard

from antiphon.errors import UnsupportedCapabilityError
from antiphon.storage.database import Database, DatabaseCounters, Isolation, Migration, OpenTransaction, Transaction


class NoStore:
    """A `Database` that is not there: opening it does nothing, and whatever needs tables is refused with the reason."""

    url = "none"
    isolation: Isolation = "read-committed"
    cheap_savepoints = True

    def __init__(self, service: str) -> None:
        self._service = service
        self.counters = DatabaseCounters()

    async def open(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""

    async def migrate(self, component: str, migrations: Sequence[Migration]) -> None:
        """Raises UnsupportedCapabilityError."""
        self._refuse(f"the tables of {component}")

    async def missing(self, component: str, migrations: Sequence[Migration]) -> Sequence[Migration]:
        """Nothing: who has no tables misses none."""
        return ()

    async def begin(self) -> OpenTransaction:
        """Raises UnsupportedCapabilityError."""
        self._refuse("transactions, and for what it publishes later")

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Transaction]:
        """Raises UnsupportedCapabilityError."""
        yield await self.begin()

    async def fetch(self, sql: str, *args: object, row: object = None) -> NoReturn:
        """Raises UnsupportedCapabilityError."""
        self._refuse("what it reads there")

    def _refuse(self, wanted: str) -> NoReturn:
        raise UnsupportedCapabilityError(
            f"service {self._service!r}",
            "store",
            f"it needs one for {wanted}: give it one, as in store='sqlite:///app.db'",
        )


def is_missing(store: Database) -> TypeGuard[NoStore]:
    """Whether there is none."""
    return isinstance(store, NoStore)
