"""How messages get their ids: time-ordered, and repeatable where a handler may run twice."""

from __future__ import annotations

import os
from hashlib import blake2b
from time import time_ns

_VERSION_7 = 0x7 << 76
_VARIANT = 0b10 << 62
_LOW_62 = (1 << 62) - 1


class _Sequence:
    """The last id's time and counter, so that ids of one process never go back."""

    __slots__ = ("counter", "millisecond")

    def __init__(self) -> None:
        self.millisecond, self.counter = 0, 0


_sequence = _Sequence()


def _forget_after_fork() -> None:
    _sequence.millisecond, _sequence.counter = 0, 0
    _pool.clear()


_pool: list[int] = []


def _random_bits() -> int:
    if not _pool:
        raw = os.urandom(8 * 256)
        _pool.extend(int.from_bytes(raw[i : i + 8], "big") & _LOW_62 for i in range(0, len(raw), 8))
    return _pool.pop()


def _format(value: int) -> str:
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def new_id() -> str:
    """A new UUID version 7 (RFC 9562, method 1): ordered by time, and within a millisecond by a counter."""
    now = time_ns() // 1_000_000
    if now > _sequence.millisecond:
        _sequence.millisecond, _sequence.counter = now, _random_bits() & 0x3FF
    else:
        _sequence.counter += 1
        if _sequence.counter > 0xFFF:
            _sequence.millisecond, _sequence.counter = _sequence.millisecond + 1, 0
    high = (_sequence.millisecond << 80) | _VERSION_7 | (_sequence.counter << 64)
    return _format(high | _VARIANT | _random_bits())


def repeatable_id(cause: str, service: str, handler: str, index: int) -> str:
    """The id of the event that `handler` of `service` emits as its `index`-th on `cause`: the same each time.

    It carries the cause's time when the cause's id is a UUID version 7, so ids stay ordered by time.
    """
    digest = blake2b(f"{cause}\0{service}\0{handler}\0{index}".encode(), digest_size=16).digest()
    value = int.from_bytes(digest, "big")
    milliseconds = _millisecond_of(cause)
    low = value & ((1 << 76) - 1) & ~(0b11 << 62)
    return _format((milliseconds << 80) | _VERSION_7 | low | _VARIANT)


def _millisecond_of(identity: str) -> int:
    """The time in a UUID version 7; 0 for any other id, which may begin with anything."""
    if len(identity) != 36 or identity[14] != "7":
        return 0
    try:
        return max(0, int(identity[:8] + identity[9:13], 16))
    except ValueError:
        return 0


os.register_at_fork(after_in_child=_forget_after_fork)
