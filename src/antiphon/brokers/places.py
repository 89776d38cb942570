"""Where does a message stand in the table of a log, and what is that place called outside of it?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from antiphon.brokers.envelope import moment
from antiphon.brokers.ports import Lag, Partition
from antiphon.errors import UnknownTopicError, UsageError

OFFSET_BITS = 40
OFFSET_MASK = (1 << OFFSET_BITS) - 1

LagRow = tuple[str, int, int, int, int, str | None, int, int | None]
"""Topic, number, position, head, floor, owner, how many were skipped, and when the first unread one arrived."""


def offset_of(position: str) -> int:
    """The offset that a position names. Raises UsageError for what is no position of this log."""
    if position.isascii() and position.isdigit():
        return int(position)
    raise UsageError(f"{position!r} is no position of this log: positions are whole numbers from 0")


def lag_in(group: str, row: LagRow, now: datetime) -> Lag:
    """How far `group` is behind in one partition."""
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


def exact_offsets(topic: str, to: Mapping[Partition, str], ends: Iterable[tuple[int, int, int]]) -> dict[int, int]:
    """Where to seek in each partition by its number. `ends` are numbers with floor and head.

    Raises UnknownTopicError for partitions of others, UsageError for positions that are not held.
    """
    known = {number: (floor, head) for number, floor, head in ends}
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
