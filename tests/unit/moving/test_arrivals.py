"""Where groups have to stand in what has arrived, and what is told where it is not whole."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from antiphon.brokers.ports import Lag, Partition
from antiphon.errors import BrokerError, UsageError
from antiphon.moving.arrivals import Arrivals, changes, require_whole

BOTH, ONE, NONE = frozenset({"one", "other"}), frozenset({"one"}), frozenset[str]()


def arrived(*lanes: str) -> Arrivals:
    """Messages that are called a letter each, behind position 9 of each partition."""
    arrivals = Arrivals(dict.fromkeys(range(len(lanes)), "9"))
    for number, lane in enumerate(lanes):
        arrivals.lanes[number] = [(str(10 + place), name) for place, name in enumerate(lane)]
    return arrivals


def lag(number: int, position: str) -> Lag:
    return Lag("one", Partition("orders", number), position, "20", 0, timedelta())


def test_a_group_stands_behind_the_last_message_that_it_had_read() -> None:
    arrivals, readers = arrived("abc", "de"), {"a": [BOTH], "b": [ONE], "c": [NONE], "d": [ONE], "e": [NONE]}
    assert arrivals.positions("one", readers) == {0: "11", 1: "10"}
    assert arrivals.positions("other", readers) == {0: "10", 1: "9"}


def test_where_it_had_read_nothing_it_stands_where_the_partition_ended_before() -> None:
    assert arrived("ab", "").positions("one", {"a": [NONE], "b": [NONE]}) == {0: "9", 1: "9"}


def test_what_others_published_meanwhile_is_unread() -> None:
    assert arrived("axb").positions("one", {"a": [ONE], "b": [NONE]}) == {0: "10"}


def test_a_place_that_would_skip_something_unread_is_refused() -> None:
    with pytest.raises(UsageError, match="had read message b, but not one that lies before it in partition 0"):
        arrived("axb").positions("one", {"a": [ONE], "b": [ONE]})


def test_of_two_copies_each_counts_for_itself() -> None:
    arrivals, readers = arrived("aba"), {"a": [ONE, NONE], "b": [ONE]}
    assert arrivals.positions("one", readers) == {0: "11"}
    assert arrivals.unread("other", readers)["a"] == [(0, "10"), (0, "12")]


def test_what_is_missing_or_there_twice_is_told() -> None:
    readers = {"a": [NONE], "b": [NONE, NONE]}
    require_whole("orders", Counter({"a": 1, "b": 2, "of others": 3}), readers)
    with pytest.raises(BrokerError, match="message b of 'orders' did not arrive, and 0 more: run it again"):
        require_whole("orders", Counter({"a": 1, "b": 1}), readers)
    with pytest.raises(BrokerError, match="message a of 'orders' arrived once too often"):
        require_whole("orders", Counter({"a": 2, "b": 2}), readers)


def test_a_group_is_moved_where_it_stands_elsewhere_and_not_where_it_went_on() -> None:
    arrivals = arrived("abc", "abc", "abc", "abc")
    wanted = dict.fromkeys(range(4), "11")
    stands = [lag(0, "11"), lag(1, "12"), lag(2, "10")]
    assert changes("orders", wanted, stands, arrivals) == {Partition("orders", 2): "11", Partition("orders", 3): "11"}


def test_a_group_that_had_read_nothing_stays_where_it_is_if_it_is_anywhere() -> None:
    wanted = {0: "9", 1: "9"}
    assert changes("orders", wanted, [lag(0, "5")], arrived("abc", "abc")) == {Partition("orders", 1): "9"}
