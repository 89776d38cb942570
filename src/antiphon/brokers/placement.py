"""Which partition a key belongs to: the same one on every broker and in every process, as Kafka places it."""

from __future__ import annotations

from functools import lru_cache
from struct import unpack_from

_SEED = 0x9747B28C
_MULTIPLIER = 0x5BD1E995
_LOW_32 = 0xFFFFFFFF
_POSITIVE = 0x7FFFFFFF


def murmur2(data: bytes) -> int:
    """The unsigned 32-bit MurmurHash2 of `data`, seeded as Kafka's default partitioner seeds it."""
    size = len(data)
    value = _SEED ^ size
    for word in unpack_from(f"<{size >> 2}I", data):
        word = word * _MULTIPLIER & _LOW_32
        value = (value * _MULTIPLIER & _LOW_32) ^ ((word ^ (word >> 24)) * _MULTIPLIER & _LOW_32)
    rest = size & 3
    if rest:
        value = (value ^ int.from_bytes(data[-rest:], "little")) * _MULTIPLIER & _LOW_32
    value = (value ^ (value >> 13)) * _MULTIPLIER & _LOW_32
    return value ^ (value >> 15)


@lru_cache(maxsize=1 << 16)
def hash_of_key(key: str) -> int:
    """The non-negative hash that places `key`; its remainder by the number of partitions is the partition."""
    return murmur2(key.encode("utf-8", "surrogatepass")) & _POSITIVE


def place(key: str, partitions: int) -> int:
    """The number of the partition, below `partitions`, that keeps the order of `key`."""
    return hash_of_key(key) % partitions
