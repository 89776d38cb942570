"""What does a position look like, and which lies before which?"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from antiphon.brokers.ports import Partition
from antiphon.errors import UsageError

START = "0-0"
_ID = re.compile(r"\d{1,20}-\d{1,20}", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def order_of(position: str) -> tuple[int, int]:
    """What positions are compared by. Raises UsageError for what is none."""
    if not _ID.fullmatch(position):
        raise UsageError(f"{position!r} is no position in Redis: positions are ids of stream entries, such as {START}")
    moment, _, count = position.partition("-")
    return int(moment), int(count)


def is_before(one: str, other: str) -> bool:
    """Whether `one` lies before `other`."""
    return one != other and order_of(one) < order_of(other)


def check_names(*names: str) -> None:
    """Raise UsageError for names that no key can have."""
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"{name!r} cannot be the name of a group or topic: {error}") from error


def lane_of(partition: Partition) -> str:
    """What a partition is called in keys and programs."""
    return f"{partition.topic}:{partition.number}"


def partition_of(lane: str) -> Partition:
    """The partition of that lane."""
    topic, _, number = lane.rpartition(":")
    return Partition(topic, int(number))


def moment(milliseconds: int) -> datetime:
    """So many milliseconds after the beginning of 1970, in UTC."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


def milliseconds(moment: datetime) -> int:
    """Milliseconds since 1970, rounded down and never below 0."""
    return max(0, (moment - _EPOCH) // timedelta(milliseconds=1))
