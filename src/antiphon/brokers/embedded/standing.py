"""Where does a group stand in the log, and how is it moved?"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import cast

from msgspec.structs import replace

from antiphon.brokers.embedded.appending import first_arrived_since
from antiphon.brokers.embedded.life import is_dead
from antiphon.brokers.embedded.membership import enter_group
from antiphon.brokers.envelope import microseconds
from antiphon.brokers.places import LagRow, exact_offsets, lag_in
from antiphon.brokers.ports import Lag, Seek, SeekTo
from antiphon.errors import UnknownTopicError
from antiphon.storage.queries import load_queries
from antiphon.storage.sqlite import SqliteDatabase, SqliteTransaction

_SQL = load_queries("antiphon.brokers.embedded", "sql/groups.sql")

_Ends = tuple[int, int, int, int]


def group_names(database: SqliteDatabase) -> list[str]:
    return [name for (name,) in cast("list[tuple[str]]", database.read(_SQL["group_names"]))]


def member_tokens(database: SqliteDatabase) -> list[str]:
    """By which all members of all groups are known to live."""
    return [token for (token,) in cast("list[tuple[str]]", database.read(_SQL["all_tokens"]))]


def lag_of(database: SqliteDatabase, group: str, now: datetime, folder: Path | None) -> list[Lag]:
    """One entry for each partition that the group has a position in. Who is known to be dead owns nothing."""
    rows = cast("list[LagRow]", database.read(_SQL["lag"], (group, microseconds(now))))
    tokens = (
        cast("list[tuple[str, str]]", database.read(_SQL["tokens_of"], (group,))) if any(r[5] for r in rows) else ()
    )
    dead = {name for name, token in tokens if is_dead(folder, token)}
    lags = [lag_in(group, row, now) for row in rows]
    return [replace(lag, owner=None) if lag.owner in dead else lag for lag in lags]


def move_group(tx: SqliteTransaction, group: str, topic: str, to: Seek) -> None:
    """Move the watermark of each partition that `to` speaks of, and fence whatever its owner still holds."""
    ends = cast("list[_Ends]", tx.query(_SQL["floor_and_head"], (topic,)))
    if not ends:
        raise UnknownTopicError(topic)
    group_id = enter_group(tx, group)
    exact = {} if isinstance(to, (SeekTo, datetime)) else exact_offsets(topic, to, [end[1:] for end in ends])
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
