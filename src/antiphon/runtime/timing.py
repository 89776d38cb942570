"""When is an event published, and until when is it worth handling?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypedDict

from antiphon.errors import UsageError


class When(TypedDict, total=False):
    """What publishing takes besides events: `at` a moment or after a `delay`, and until when they are worth handling.

    A `deadline` that is a duration counts from the moment of publishing.
    """

    at: datetime | None
    delay: timedelta | None
    deadline: datetime | timedelta | None


class Timing(NamedTuple):
    """The moment at which an event is published, None for now; and its deadline, if it has one. Both in UTC."""

    at: datetime | None
    deadline: datetime | None


def read_timing(
    now: datetime,
    *,
    at: datetime | None = None,
    delay: timedelta | None = None,
    deadline: datetime | timedelta | None = None,
) -> Timing:
    """What a caller asks for by `When`, as moments.

    Raises UsageError for what contradicts itself or has no time zone.
    """
    moment = _moment(now, at, delay)
    return Timing(moment, None if deadline is None else _deadline(now, moment, deadline))


def _moment(now: datetime, at: datetime | None, delay: timedelta | None) -> datetime | None:
    if at is not None and delay is not None:
        raise UsageError(f"publish(at={at}, delay={delay}): both say when; give one of them")
    if at is not None:
        return _in_utc("at", at)
    if delay is None:
        return None
    if delay < timedelta():
        raise UsageError(f"publish(delay={delay}): it lies in the past; give a delay of zero or more")
    return _after(now, "delay", delay)


def _deadline(now: datetime, moment: datetime | None, deadline: datetime | timedelta) -> datetime:
    end = _end(now if moment is None else moment, deadline)
    if end <= (moment or now):
        when = "now" if moment is None else f"at {moment}"
        raise UsageError(
            f"publish(deadline={deadline}): it is over when the event is published, {when}; give a later one"
        )
    return end


def _end(published: datetime, deadline: datetime | timedelta) -> datetime:
    if isinstance(deadline, timedelta):
        return _after(published, "deadline", deadline)
    return _in_utc("deadline", deadline)


def _in_utc(name: str, moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise UsageError(f"publish({name}={moment}): it has no time zone; give it as in datetime(..., tzinfo=UTC)")
    return moment.astimezone(UTC)


def _after(moment: datetime, name: str, duration: timedelta) -> datetime:
    try:
        return moment + duration
    except OverflowError:
        raise UsageError(f"publish({name}={duration}): no calendar goes so far; give a shorter duration") from None
