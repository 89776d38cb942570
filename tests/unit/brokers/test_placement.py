"""Does a key go where Kafka puts it?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.brokers.placement import hash_of_key, murmur2, place

KAFKA_VECTORS = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


@pytest.mark.parametrize(("key", "signed"), KAFKA_VECTORS.items())
def test_the_hash_is_the_one_in_kafkas_own_tests(key: str, signed: int) -> None:
    assert murmur2(key.encode()) == signed % 2**32


@pytest.mark.parametrize(("key", "signed"), KAFKA_VECTORS.items())
def test_the_sign_bit_is_cleared_as_kafkas_to_positive_does(key: str, signed: int) -> None:
    assert hash_of_key(key) == signed & 0x7FFFFFFF


def test_the_empty_key_has_a_place() -> None:
    assert murmur2(b"") == 275646681
    assert place("", 8) == 275646681 % 8


@given(st.text(), st.integers(min_value=1, max_value=1000))
def test_every_key_has_one_place_below_the_number_of_partitions(key: str, partitions: int) -> None:
    number = place(key, partitions)
    assert 0 <= number < partitions
    assert place(key, partitions) == number


def test_many_keys_spread_evenly() -> None:
    counts = [0] * 8
    for number in range(8000):
        counts[place(f"customer-{number}", 8)] += 1
    assert min(counts) > 900
    assert max(counts) < 1100
