"""What do another service's entities look like now, as far as their events were read here?"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

from antiphon.storage.database import Database, Transaction
from antiphon.storage.queries import load_queries

_SQL = load_queries("antiphon.storage", "sql/replicas.sql")


class Entity(Struct, frozen=True):
    """One entity's last known state: the event's data as it came, and which message brought it when."""

    key: str
    message_id: str
    time: datetime
    data: bytes


class Replicas:
    """The local copies that `service` keeps of one kind of entity. The last one written wins."""

    def __init__(self, service: str, entity: str) -> None:
        self.service, self.entity = service, entity

    async def upsert(self, tx: Transaction, entities: Iterable[Entity]) -> None:
        """Keep each as its key's state when `tx` commits."""
        rows = [(self.service, self.entity, e.key, e.message_id, e.time.isoformat(), e.data) for e in entities]
        await tx.execute_many(_SQL["upsert"], rows)

    async def delete(self, tx: Transaction, keys: Iterable[str]) -> None:
        """Forget these, as a tombstone asks. A key that is not there does nothing."""
        await tx.execute_many(_SQL["delete"], [(self.service, self.entity, key) for key in keys])

    async def get(self, store: Database | Transaction, key: str) -> Entity | None:
        """The state of `key`: with a transaction as it sees it, with a database as committed."""
        found = await store.fetch(_SQL["get"], self.service, self.entity, key, row=Entity)
        return found[0] if found else None

    async def count(self, store: Database | Transaction) -> int:
        """How many entities are known."""
        (number,) = await store.fetch(_SQL["count"], self.service, self.entity, row=int)
        return number
