"""Where does a group stand in the log, and how is it moved?"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import cast

from antiphon.brokers.embedded.appending import first_arrived_since
from antiphon.brokers.embedded.membership import enter_group
from antiphon.brokers.envelope import moment
from antiphon.brokers.places import offset_of
from antiphon.brokers.ports import Lag, Partition, Seek, SeekTo
from antiphon.errors import UnknownTopicError, UsageError
from antiphon.storage.queries import load_queries
from antiphon.storage.sqlite import SqliteDatabase, SqliteTransaction

_SQL = load_queries("antiphon.brokers.embedded", "sql/groups.sql")

_LagRow = tuple[str, int, int, int, int, str | None, int, int | None]
_Ends = tuple[int, int, int, int]


def group_names(database: SqliteDatabase) -> list[str]:
    return [name for (name,) in cast("list[tuple[str]]", database.read(_SQL["group_names"]))]


def member_tokens(database: SqliteDatabase) -> list[str]:
    """By which all members of all groups are known to live."""
    return [token for (token,) in cast("list[tuple[str]]", database.read(_SQL["all_tokens"]))]


def lag_of(database: SqliteDatabase, group: str, now: datetime) -> list[Lag]:
    """One entry for each partition that the group has a position in."""
    return [_lag(group, row, now) for row in cast("list[_LagRow]", database.read(_SQL["lag"], (group,)))]


def _lag(group: str, row: _LagRow, now: datetime) -> Lag:
    topic, number, position, head, floor, owner, skipped, arrived = row
    return Lag(
        group=group,
        partition=Partition(topic, number),
        position=str(position),
        end=str(head),
        messages=head - max(position, floor),
        age=timedelta() if arrived is None else max(timedelta(), now - moment(arrived)),
        owner=owner,
        skipped=skipped,
    )


def move_group(tx: SqliteTransaction, group: str, topic: str, to: Seek) -> None:
    """Move the watermark of each partition that `to` speaks of, and fence whatever its owner still holds."""
    ends = cast("list[_Ends]", tx.query(_SQL["floor_and_head"], (topic,)))
    if not ends:
        raise UnknownTopicError(topic)
    group_id = enter_group(tx, group)
    exact = {} if isinstance(to, (SeekTo, datetime)) else _exact(topic, to, ends)
    for partition_id, number, floor, head in ends:
        if to is SeekTo.START:
            position = floor
        elif to is SeekTo.END:
            position = head
        elif isinstance(to, datetime):
            position = first_arrived_since(tx.query, partition_id, floor, head, to) - 1
        elif number in exact:
            position = exact[number]
        else:
            continue
        tx.send(_SQL["seek"], (group_id, partition_id, position))
    tx.send(_SQL["change_generation"], (group_id,))


def _exact(topic: str, to: Mapping[Partition, str], ends: list[_Ends]) -> dict[int, int]:
    known = {number: (floor, head) for _, number, floor, head in ends}
    exact: dict[int, int] = {}
    for partition, position in to.items():
        offset = offset_of(position)
        if partition.topic != topic or partition.number not in known:
            raise UnknownTopicError(f"{partition.topic}/{partition.number}")
        floor, head = known[partition.number]
        if not floor <= offset <= head:
            raise UsageError(
                f"cannot seek {topic}/{partition.number} to {position}: it holds the positions {floor} to {head}"
            )
        exact[partition.number] = offset
    return exact
