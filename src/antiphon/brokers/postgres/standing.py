"""Where does a group stand in the log, and how is it moved?"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import cast

from antiphon.brokers.envelope import EPOCH, microseconds, moment
from antiphon.brokers.places import LagRow, exact_offsets, lag_in
from antiphon.brokers.ports import Lag, Seek, SeekTo
from antiphon.brokers.postgres.arrays import numbers
from antiphon.brokers.postgres.membership import enter_group
from antiphon.errors import UnknownTopicError
from antiphon.storage.database import Database, Transaction
from antiphon.storage.queries import load_queries

_SQL = load_queries("antiphon.brokers.postgres", "sql/groups.sql")
_FIRST_SINCE = load_queries("antiphon.brokers.postgres", "sql/messages.sql")["first_since"]

Ends = tuple[int, int, int, int]
"""Id and number of a partition, its floor and its head."""


async def group_names(database: Database) -> list[str]:
    return await database.fetch(_SQL["group_names"], row=str)


async def lag_of(database: Database, group: str) -> list[Lag]:
    """One entry for each partition that the group has a position in, by the server's clock."""
    rows = await database.fetch(_SQL["lag"], group)
    return [lag_in(group, cast("LagRow", row[:-1]), moment(cast("int", row[-1]))) for row in rows]


async def ends_of(store: Database | Transaction, topic: str) -> list[Ends]:
    """Where each partition begins and ends, by number."""
    return cast("list[Ends]", await store.fetch(_SQL["ends"], topic))


async def move_group(tx: Transaction, group: str, topic: str, to: Seek) -> None:
    """Move the watermark of each partition that `to` speaks of, and fence whatever its owner still holds."""
    ends = await ends_of(tx, topic)
    if not ends:
        raise UnknownTopicError(topic)
    positions = await _positions(tx, topic, to, ends)
    group_id = await enter_group(tx, group)
    await tx.execute(_SQL["seek"], group_id, numbers(positions), numbers(positions.values()))
    await tx.execute(_SQL["change_generation"], group_id)


async def _positions(tx: Transaction, topic: str, to: Seek, ends: list[Ends]) -> Mapping[int, int]:
    """Where to go in each partition, by its id."""
    if isinstance(to, SeekTo):
        return {partition_id: floor if to is SeekTo.START else head for partition_id, _, floor, head in ends}
    if isinstance(to, datetime):
        since = microseconds(to) if to > EPOCH else 0
        firsts = await tx.fetch(_FIRST_SINCE, topic, since, row=tuple[int, int])
        return {partition_id: first - 1 for partition_id, first in firsts}
    exact = exact_offsets(topic, to, [end[1:] for end in ends])
    return {partition_id: exact[number] for partition_id, number, _, _ in ends if number in exact}
