"""What becomes of the places of what is set aside, when its service moves to another broker?

A message that the group has not read may be set aside already: it was given up or put off while one before it was still
in hand. It comes again, at another place, and must be known then: its row gets that place, and the id that follows from
it. What does not come again keeps its place, with the name of the broker before it.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from antiphon.events.message import Message
from antiphon.storage.database import Database, Transaction
from antiphon.storage.envelopes import decode_message
from antiphon.storage.queries import load_queries
from antiphon.storage.set_aside import aside_id, turn_first

_SQL = load_queries("antiphon.storage", "sql/moving.sql")

Place = tuple[int, str]
"""The number of a partition, and a position in it."""


class Moved(NamedTuple):
    """How a group's topic was moved: from which kind of broker, and where each unread message lies now, by identity."""

    group: str
    topic: str
    before: str
    places: Mapping[str, Sequence[Place]]


class _Row(NamedTuple):
    number: int
    id: str
    handler: str
    partition: int
    position: str
    message: str


async def set_aside_identities(store: Database, group: str, topic: str) -> list[str]:
    """The identity of each message of the topic that the group set aside; one that came twice may be there twice."""
    rows = await store.fetch(_SQL["set_aside_of"], group, topic, row=_Row)
    return [decode_message(row.message).identity for row in rows]


async def relocate(store: Database, moved: Moved) -> int:
    """Give what the group set aside its new places; returns how many come again. Twice gives the same."""
    left: dict[str, deque[Place]] = {identity: deque(places) for identity, places in moved.places.items()}
    coming = 0
    async with turn_first(store) as tx:
        for row in await tx.fetch(_SQL["set_aside_of"], moved.group, moved.topic, row=_Row):
            message = decode_message(row.message)
            places = left.get(message.identity)
            if places:
                coming += 1
                await _move(tx, row, message, moved, places.popleft())
            elif ":" not in row.position:
                await tx.execute(_SQL["move"], row.number, row.id, row.partition, f"{moved.before}:{row.position}")
    return coming


async def _move(tx: Transaction, row: _Row, message: Message, moved: Moved, place: Place) -> None:
    id = aside_id(message, moved.group, row.handler, moved.topic, *place)
    if id != row.id:
        await tx.execute(_SQL["rename_in_changes"], row.id, id)
    await tx.execute(_SQL["move"], row.number, id, *place)


def by_identity(found: Sequence[tuple[str, Place]]) -> Mapping[str, Sequence[Place]]:
    """The places of each message, in their order."""
    places: defaultdict[str, list[Place]] = defaultdict(list)
    for identity, place in found:
        places[identity].append(place)
    return places
