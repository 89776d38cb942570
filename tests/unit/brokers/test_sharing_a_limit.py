"""How is the limit of one fetch shared between partitions?"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from antiphon.brokers.holdings import share_limit
from antiphon.brokers.offsets import OwnedPartition
from antiphon.brokers.ports import Partition


def backlog(*counts: int) -> list[OwnedPartition]:
    owned = [OwnedPartition(Partition("t", number), number, 1, 0) for number in range(len(counts))]
    for partition, count in zip(owned, counts, strict=True):
        partition.head = count
    return owned


def shares(limit: int, *counts: int) -> dict[int, int]:
    return {owned.id: count for owned, count in share_limit(backlog(*counts), limit, lambda owned: owned.waiting)}


def test_what_a_short_partition_leaves_goes_to_the_longer_ones() -> None:
    assert shares(100, 500, 10, 500) == {1: 10, 0: 45, 2: 45}


def test_a_limit_below_the_number_of_partitions_goes_to_the_first_in_line() -> None:
    assert shares(2, 5, 5, 5, 5) == {0: 1, 1: 1}


@given(st.integers(1, 2000), st.lists(st.integers(1, 3000), min_size=1, max_size=16))
def test_the_limit_is_used_up_and_never_exceeded(limit: int, counts: list[int]) -> None:
    shared = shares(limit, *counts)
    assert sum(shared.values()) == min(limit, sum(counts)) if limit >= len(counts) else sum(shared.values()) == limit
    assert all(0 < count <= counts[number] for number, count in shared.items())
