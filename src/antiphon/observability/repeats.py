"""Which errors are the same error, and how often it is worth saying."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType

_MINUTE = timedelta(minutes=1)


def fingerprint(error: BaseException) -> str:
    """The same for two errors of one class raised at one line, whatever their text says: `ValueError@orders.py:17`."""
    place = _innermost(error.__traceback__)
    return f"{type(error).__name__}@{place}" if place else type(error).__name__


def _innermost(traceback: TracebackType | None) -> str:
    if traceback is None:
        return ""
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"


class RepeatLimit:
    """Lets the first few of each fingerprint through, then one in each interval.

    It remembers at most `capacity` fingerprints; the one seen longest ago is forgotten first.
    """

    def __init__(
        self,
        first: int = 3,
        every: timedelta = _MINUTE,
        monotonic: Callable[[], float] = time.monotonic,
        capacity: int = 1000,
    ) -> None:
        self._first, self._every, self._monotonic = first, every.total_seconds(), monotonic
        self._capacity = capacity
        self._seen: dict[str, _Repeats] = {}

    def admit(self, fingerprint: str) -> int | None:
        """None: leave this one out. Otherwise how many were left out since the last that was let through."""
        now = self._monotonic()
        repeats = self._seen.pop(fingerprint, None) or _Repeats(now)
        self._seen[fingerprint] = repeats
        if len(self._seen) > self._capacity:
            del self._seen[next(iter(self._seen))]
        return repeats.admit(now, self._first, self._every)


class _Repeats:
    """How often one error came."""

    __slots__ = ("admitted", "last", "left_out")

    def __init__(self, now: float) -> None:
        self.admitted, self.left_out, self.last = 0, 0, now

    def admit(self, now: float, first: int, every: float) -> int | None:
        if self.admitted >= first and now - self.last < every:
            self.left_out += 1
            return None
        left_out, self.left_out = self.left_out, 0
        self.admitted, self.last = self.admitted + 1, now
        return left_out
