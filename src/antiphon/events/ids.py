"""How messages get their ids: time-ordered, and repeatable where a handler may run twice."""

from __future__ import annotations

import os
import re
import sys
from hashlib import blake2b
from time import time_ns

_VARIANTS = "89ab"
_UNKNOWN_TIME = "00000000-0000-7"
_TIMED = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-7")


class _Sequence:
    """The last id's time and counter, so that ids of one process never go back."""

    __slots__ = ("beginning", "counter", "millisecond")

    def __init__(self) -> None:
        self.millisecond, self.counter, self.beginning = 0, 0, _UNKNOWN_TIME

    def move(self, millisecond: int) -> None:
        text = f"{millisecond:012x}"
        self.millisecond, self.counter, self.beginning = millisecond, 0, f"{text[:8]}-{text[8:]}-7"


_sequence = _Sequence()
_tails: list[str] = []
"""Random ends of ids, made many at once: one call into the kernel for each would cost more than all the rest."""


def new_id() -> str:
    """A new UUID version 7 (RFC 9562, method 1): ordered by time, and within a millisecond by a counter."""
    now = time_ns() // 1_000_000
    if now > _sequence.millisecond:
        _sequence.move(now)
    else:
        _sequence.counter += 1
        if _sequence.counter > 0xFFF:
            _sequence.move(_sequence.millisecond + 1)
    return f"{_sequence.beginning}{_sequence.counter:03x}{_random_tail()}"


def repeatable_id(cause: str, service: str, handler: str, index: int) -> str:
    """The id of the event that `handler` of `service` emits as its `index`-th on the identity `cause`: always the same.

    It carries the cause's time when the cause's id is a UUID version 7, so ids stay ordered by time.
    """
    digest = blake2b(f"{cause}\0{service}\0{handler}\0{index}".encode(), digest_size=10).hexdigest()
    timed = len(cause) == 36 and _TIMED.match(cause)
    beginning = cause[:15].lower() if timed else _UNKNOWN_TIME
    return f"{beginning}{digest[:3]}{_tail(digest[3:19])}"


def identity(id: str, source: str) -> str:
    """What tells a message from every other: its id where that looks like a UUID, else its source and id together.

    CloudEvents promise ids that are unique in their source only: two services may both count from 1.
    """
    # No identity made below can pass for a UUID: it holds a colon.
    if len(id) == 36 and id[8] == id[13] == id[18] == id[23] == "-" and ":" not in id:
        return id
    return f"{len(source)}:{source}:{id}"


def _random_tail() -> str:
    while True:  # threads may empty it between the two lines
        try:
            return _tails.pop()
        except IndexError:
            digits = os.urandom(8 * 256).hex()
            _tails.extend(_tail(digits[start : start + 16]) for start in range(0, len(digits), 16))


def _tail(digits: str) -> str:
    """The last two groups of a UUID out of 16 hexadecimal digits, two bits replaced by the variant."""
    return f"-{_VARIANTS[int(digits[0], 16) & 3]}{digits[1:4]}-{digits[4:]}"


def _forget_after_fork() -> None:
    _sequence.move(0)
    _tails.clear()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget_after_fork)
