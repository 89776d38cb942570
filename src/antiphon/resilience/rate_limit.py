"""How many messages or calls may go in a time, and when the next one may."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

from msgspec import Struct

from antiphon.events.amounts import show_duration
from antiphon.resilience.checks import check_count, check_duration

_MICROSECOND = timedelta(microseconds=1)


class RateLimit(Struct, frozen=True, kw_only=True):
    """At most `messages` in each `per` on the long run, and at most `burst` of them at once.

    Without `burst` it is what comes in a tenth of `per`, and at least 1. Pure data; a Rate is its running state.
    Raises DeclarationError for a limit that lets nothing through.
    """

    messages: int
    per: timedelta = timedelta(seconds=1)
    burst: int | None = None

    def __post_init__(self) -> None:
        check_count("RateLimit", "messages", self.messages, least=1)
        check_duration("RateLimit", "per", self.per)
        if self.burst is not None:
            check_count("RateLimit", "burst", self.burst, least=1)

    @property
    def at_once(self) -> int:
        """The burst in force."""
        return self.burst if self.burst is not None else max(1, self.messages // 10)

    def describe(self) -> str:
        """One line for people."""
        return f"at most {self.messages} each {show_duration(self.per)}, up to {self.at_once} at once"


class Rate:
    """A rate limit at work: asks for nothing but the time, and never waits. For one thread.

    In whatever span of time, no more is admitted than the burst and what the limit allows in that span. A clock that
    goes back counts as one that stands still.
    """

    def __init__(self, limit: RateLimit, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self._monotonic = monotonic
        self._seen = self._tick()
        # Whole numbers of microseconds times `messages`, so that rounding never adds up, however long it runs.
        self._cost = limit.per // _MICROSECOND
        self._most = self._cost * limit.at_once
        self._debt = 0

    def admit(self, count: int = 1) -> bool:
        """Whether `count` may go now, all or none; they are counted as gone then. More than the burst never may."""
        if self._owed() + count * self._cost > self._most:
            return False
        self._debt += count * self._cost
        return True

    def room(self) -> int:
        """How many would be admitted now."""
        return (self._most - self._owed()) // self._cost

    def wait(self) -> timedelta:
        """How long until the next one may go; nothing when it may now."""
        over = self._owed() + self._cost - self._most
        return timedelta(microseconds=max(0, -(-over // self.limit.messages)))

    def _owed(self) -> int:
        """What was admitted and time has not paid for yet."""
        tick = self._tick()
        self._debt = max(0, self._debt - max(0, tick - self._seen) * self.limit.messages)
        self._seen = tick
        return self._debt

    def _tick(self) -> int:
        return round(self._monotonic() * 1_000_000)
