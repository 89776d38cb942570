"""A consumer's local copy of another service's entities, kept by their state-transfer events."""

from __future__ import annotations

from typing import Generic, TypeVar

from antiphon.errors import DeclarationError
from antiphon.events.declare import EventKind, declaration_of
from antiphon.events.message import Message
from antiphon.schemas.codec import codec_for
from antiphon.storage.database import Database, Transaction
from antiphon.storage.replicas import Entity, Replicas

T = TypeVar("T")


class Replica(Generic[T]):
    """The newest event of each key, in this service's own store. Made by `Service.replica`."""

    def __init__(self, service: str, event: type[T]) -> None:
        declared = declaration_of(event)
        if declared.kind is not EventKind.STATE_TRANSFER or declared.key_field is None:
            raise DeclarationError(
                f"service {service!r} cannot keep a replica of {declared.name!r}: only a state-transfer event with a "
                "key says all there is to know of an entity; declare it with kind=STATE_TRANSFER and a Key field"
            )
        self.event = event
        self._codec = codec_for(event)
        self._entities = Replicas(service, declared.name)

    async def get(self, store: Transaction | Database, key: str) -> T | None:
        """The entity of `key` as last heard of, or None: never heard of, or gone.

        With a handler's transaction it is read there; with a database, as committed. It may be behind its source.
        """
        entity = await self._entities.get(store, key)
        return None if entity is None else self._codec.decode(entity.data)

    async def count(self, store: Transaction | Database) -> int:
        """How many entities are known."""
        return await self._entities.count(store)

    async def keep(self, message: Message, tx: Transaction) -> None:
        """Take one message: its event replaces the entity, a tombstone removes it."""
        key = message.key or ""
        if message.data is None:
            await self._entities.delete(tx, [key])
        else:
            await self._entities.upsert(tx, [Entity(key, message.id, message.time, message.data)])
