"""How are moments kept in tables? As microseconds since 1970, UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

TICK = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(time: datetime) -> int:
    """A time as it is kept."""
    return (time - _EPOCH) // TICK


def time_of(moment: int) -> datetime:
    """The time that is kept so."""
    return _EPOCH + moment * TICK
