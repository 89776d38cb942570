"""How much is too much: the numbers that the alerts compare with, and what they may be."""

from __future__ import annotations

import math
from datetime import timedelta

from msgspec import Struct

from antiphon.errors import UsageError
from antiphon.events.amounts import show_duration
from antiphon.observability.names import SECONDS

REMEMBERED = timedelta(hours=1)
"""For how long a service that is gone is missed; after that it may be gone on purpose."""

_LONGEST_MEASURED = timedelta(seconds=SECONDS[-1])
_NONE = timedelta()


class Thresholds(Struct, frozen=True, kw_only=True):
    """What is too much, and for how long it may last.

    A number is the most that is still fine. Raises UsageError for a value with which an alert could never be right.
    """

    window: timedelta = timedelta(minutes=5)
    """Failures are counted over this time; failures that are tried again must go on for as long before they alert."""
    publish_failures: int = 0
    error_ratio: float = 0.05
    """Which share of a handler's runs may fail."""
    retry_ratio: float = 0.5
    """Which share of a handler's runs may be attempts after the first."""
    least_runs: int = 20
    """With fewer runs in a window, a share says nothing."""
    slow: timedelta = timedelta(minutes=10)
    """For how long handling or publishing may be slow, or most runs be retries."""
    slow_handling: timedelta = timedelta(seconds=1)
    slow_publishing: timedelta = timedelta(seconds=1)
    lag_messages: int = 1000
    """More than these, and growing."""
    lag_grows: timedelta = timedelta(minutes=15)
    lag: timedelta = timedelta(minutes=5)
    """How old the oldest unread message may be."""
    fingerprint_arrivals: int = 10
    dead_letters: int = 100
    messages_behind: int = 100
    """How many may wait behind a failed message of their key."""
    circuit_open: timedelta = timedelta(minutes=5)
    topic_paused: timedelta = timedelta(hours=1)
    partitions_paused: timedelta = timedelta(minutes=15)
    broker_failures: int = 3
    """Fetches or settlements that fail in a window."""
    stalled: timedelta = timedelta(minutes=1)
    gone: timedelta = timedelta(minutes=5)
    scheduled_late: timedelta = timedelta(minutes=1)
    outbox_age: timedelta = timedelta(minutes=1)

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value: object = getattr(self, name)
            if isinstance(value, timedelta):
                self._check_duration(name, value)
            elif isinstance(value, int | float) and not (value >= 0 and math.isfinite(value)):
                raise _refusal(name, str(value), "it must be a number of at least 0")
            if name.endswith("_ratio") and not getattr(self, name) < 1:
                raise _refusal(name, str(value), "it must be below 1: a share is never more than all")

    def _check_duration(self, name: str, value: timedelta) -> None:
        if value < _NONE or value % timedelta(milliseconds=1):
            raise _refusal(name, str(value), "it must be a whole number of milliseconds, of at least 0")
        if name in {"window", "lag_grows"} and value == _NONE:
            raise _refusal(name, "0s", "a time to look back over must be longer")
        if name in {"slow_handling", "slow_publishing"} and value >= _LONGEST_MEASURED:
            longest = show_duration(_LONGEST_MEASURED)
            raise _refusal(name, show_duration(value), f"it must be below {longest}, the longest that is told apart")
        if name == "gone" and value >= REMEMBERED:
            raise _refusal(name, show_duration(value), f"it must be below {show_duration(REMEMBERED)}: then it is over")


def _refusal(name: str, value: str, how: str) -> UsageError:
    return UsageError(f"the threshold {name} was given {value}: {how}")
