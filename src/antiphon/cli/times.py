"""How are moments and durations written on the command line?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from antiphon.errors import UsageError
from antiphon.events.amounts import duration


def read_moment(option: str, text: str) -> datetime:
    """A moment as in 2026-01-31T12:00Z; without a zone it is UTC. Raises UsageError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text}: say a time as in 2026-01-31T12:00Z") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def read_duration(option: str, text: str) -> timedelta:
    """A duration as in 5m. Raises UsageError."""
    try:
        return duration(text)
    except ValueError:
        raise UsageError(f"{option} {text}: say a duration as in 5m or 1h30m") from None
