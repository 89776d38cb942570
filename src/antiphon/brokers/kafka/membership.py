"""Which member of a group reads which partition, in the words of the protocol that its members speak."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from antiphon.brokers.ports import Partition

_VERSION, _COUNT, _NUMBER, _LENGTH = struct.Struct(">h"), struct.Struct(">i"), struct.Struct(">i"), struct.Struct(">h")


def assigned(words: bytes) -> list[Partition]:
    """The partitions of an assignment (Kafka's ConsumerProtocolAssignment, any version); none in what is no such."""
    try:
        return list(_read(words))
    except (struct.error, UnicodeDecodeError):
        return []


def _read(words: bytes) -> Iterator[Partition]:
    if not words:
        return
    place = _VERSION.size
    (topics,) = _COUNT.unpack_from(words, place)
    place += _COUNT.size
    for _ in range(topics):
        (length,) = _LENGTH.unpack_from(words, place)
        place += _LENGTH.size
        topic = words[place : place + length].decode()
        place += length
        (count,) = _COUNT.unpack_from(words, place)
        place += _COUNT.size
        for _ in range(count):
            (number,) = _NUMBER.unpack_from(words, place)
            place += _NUMBER.size
            yield Partition(topic, number)
