"""A rate lets through what its limit allows, in whatever span of time, and says how long to wait."""

from __future__ import annotations

from datetime import timedelta
from itertools import combinations_with_replacement

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.errors import DeclarationError
from antiphon.resilience.rate_limit import Rate, RateLimit

SECOND, MICROSECOND = timedelta(seconds=1), timedelta(microseconds=1)


class Watch:
    """A monotonic time that a test sets, in whole microseconds."""

    def __init__(self) -> None:
        self.elapsed = 5 * SECOND

    def __call__(self) -> float:
        return self.elapsed.total_seconds()


@pytest.fixture
def watch() -> Watch:
    return Watch()


def count_admitted(rate: Rate, most: int = 1000) -> int:
    return next((count for count in range(most) if not rate.admit()), most)


def test_it_lets_a_burst_through_and_then_one_after_another(watch: Watch) -> None:
    rate = Rate(RateLimit(messages=10, burst=3), watch)
    assert count_admitted(rate) == 3
    assert rate.wait() == SECOND / 10
    watch.elapsed += SECOND / 10
    assert count_admitted(rate) == 1


def test_rest_gives_the_burst_back_and_no_more(watch: Watch) -> None:
    rate = Rate(RateLimit(messages=10, burst=3), watch)
    assert count_admitted(rate) == 3
    watch.elapsed += timedelta(days=1)
    assert count_admitted(rate) == 3


@pytest.mark.parametrize(("messages", "burst"), [(1, 1), (19, 1), (20, 2), (1000, 100)])
def test_the_burst_is_a_tenth_unless_given(watch: Watch, messages: int, burst: int) -> None:
    assert RateLimit(messages=messages).at_once == burst
    assert count_admitted(Rate(RateLimit(messages=messages), watch)) == burst


def test_room_says_how_many_would_be_admitted(watch: Watch) -> None:
    rate = Rate(RateLimit(messages=10, burst=5), watch)
    assert (rate.room(), rate.admit(2), rate.room()) == (5, True, 3)


def test_many_go_together_or_not_at_all(watch: Watch) -> None:
    rate = Rate(RateLimit(messages=10, burst=5), watch)
    assert (rate.admit(6), rate.admit(3), rate.admit(3), rate.admit(2)) == (False, True, False, True)


def test_asking_often_loses_no_time(watch: Watch) -> None:
    rate = Rate(RateLimit(messages=3, burst=1), watch)
    assert rate.admit()
    asked = 0
    while not rate.admit():
        watch.elapsed += MICROSECOND * 100
        asked += 1
    assert asked == 3334


def test_a_clock_that_stands_still_lets_only_the_burst_through(watch: Watch) -> None:
    rate = Rate(RateLimit(messages=1000, burst=7), watch)
    assert count_admitted(rate) == 7
    assert count_admitted(rate) == 0


def test_a_clock_that_goes_back_counts_as_one_that_stands_still(watch: Watch) -> None:
    rate = Rate(RateLimit(messages=1, burst=1), watch)
    assert rate.admit()
    watch.elapsed -= 4 * SECOND
    assert (rate.admit(), rate.wait()) == (False, SECOND)
    watch.elapsed += SECOND
    assert rate.admit()


limits = st.builds(
    RateLimit,
    messages=st.integers(1, 50),
    per=st.timedeltas(timedelta(milliseconds=1), 10 * SECOND),
    burst=st.none() | st.integers(1, 20),
)
pauses = st.sampled_from([timedelta(), MICROSECOND, timedelta(milliseconds=7), SECOND / 3, 5 * SECOND])


@given(limits, st.lists(st.tuples(pauses, st.integers(1, 5)), max_size=30))
def test_no_span_of_time_sees_more_than_the_burst_and_its_share(
    limit: RateLimit, asks: list[tuple[timedelta, int]]
) -> None:
    watch = Watch()
    rate, admitted = Rate(limit, watch), list[timedelta]()
    for pause, count in asks:
        watch.elapsed += pause
        if rate.admit(count):
            admitted += [watch.elapsed] * count
    for first, last in combinations_with_replacement(range(len(admitted)), 2):
        span = admitted[last] - admitted[first]
        assert (last - first + 1) <= limit.at_once + span * limit.messages / limit.per


@given(limits, st.lists(pauses, max_size=30))
def test_whoever_waits_as_told_is_admitted_and_not_a_microsecond_sooner(
    limit: RateLimit, more: list[timedelta]
) -> None:
    watch = Watch()
    rate = Rate(limit, watch)
    for pause in more:
        watch.elapsed += pause
        count_admitted(rate)
        wait = rate.wait()
        assert wait > timedelta()
        watch.elapsed += wait - MICROSECOND
        assert not rate.admit()
        watch.elapsed += MICROSECOND
        assert rate.admit()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"messages": 0}, "the least is messages=1"),
        ({"messages": 2.5}, "whole number"),
        ({"messages": 1, "per": timedelta()}, "longer than nothing"),
        ({"messages": 1, "per": 1.0}, "it is a timedelta"),
        ({"messages": 1, "burst": 0}, "the least is burst=1"),
    ],
)
def test_a_limit_that_lets_nothing_through_is_refused(given: dict[str, object], told: str) -> None:
    with pytest.raises(DeclarationError, match=told):
        RateLimit(**given)


def test_it_says_in_a_line_what_it_allows() -> None:
    assert RateLimit(messages=100, per=60 * SECOND).describe() == "at most 100 each 1m, up to 10 at once"
