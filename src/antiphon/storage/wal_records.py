"""What does a PostgreSQL server's log say, as its plugin `pgoutput` writes it? Only what holds messages is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import NamedTuple

_COMMIT = Struct(">bqqq")
_MESSAGE = Struct(">bq")
_LENGTH = Struct(">i")
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


class WalMessage(NamedTuple):
    """A message in the log: its place there, whose it is, what it says."""

    place: int
    prefix: str
    content: bytes


class WalTransaction(NamedTuple):
    """A transaction that committed, and the place from which nothing of it is read any more."""

    end: int
    committed_at: datetime
    messages: list[WalMessage]


def transactions(records: Iterable[bytes]) -> Iterator[WalTransaction]:
    """The transactions in these records, in the order of their commits; what is in none is left out."""
    messages: list[WalMessage] = []
    for record in records:
        kind, body = record[:1], record[1:]
        if kind == b"B":
            messages = []
        elif kind == b"M":
            messages.append(_message(body))
        elif kind == b"C":
            _, _, end, micros = _COMMIT.unpack_from(body)
            yield WalTransaction(end, _EPOCH + timedelta(microseconds=micros), messages)
            messages = []


def written_place(place: int) -> str:
    """A place as the server writes it."""
    return f"{place >> 32:X}/{place & 0xFFFFFFFF:X}"


def _message(body: bytes) -> WalMessage:
    _, place = _MESSAGE.unpack_from(body)
    end = body.index(b"\0", _MESSAGE.size)
    (length,) = _LENGTH.unpack_from(body, end + 1)
    start = end + 1 + _LENGTH.size
    return WalMessage(place, body[_MESSAGE.size : end].decode(), body[start : start + length])
