"""A window counts what lies in it, in the same memory however much that is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from antiphon.resilience.window import BUCKETS, Window

steps = st.lists(st.tuples(st.sampled_from([0, 1, 3, 9, 50]), st.integers(0, 5), st.integers(0, 5)), max_size=60)


@given(steps)
def test_it_counts_all_of_the_window_but_at_most_its_last_part(steps: list[tuple[int, int, int]]) -> None:
    window, now, added = Window(float(BUCKETS)), 0, list[tuple[int, int, int]]()
    for passed, failures, slow in steps:
        now += passed
        added.append((now, failures, slow))
        window.add(now, 5, failures, slow)
        inside = [each for each in added if each[0] > now - BUCKETS]
        assert window.total == 5 * len(inside)
        assert window.failures == sum(each[1] for each in inside)
        assert window.slow == sum(each[2] for each in inside)


def test_a_million_calls_take_no_more_room_than_one() -> None:
    window = Window(60.0)
    for second in range(1000):
        window.add(second / 10, 1000, 1, 0)
    assert len(window._buckets) == BUCKETS
    assert window.total > 500_000


def test_a_clock_that_steps_back_loses_nothing() -> None:
    window = Window(60.0)
    window.add(100.0, 1, 1, 0)
    window.add(40.0, 1, 1, 0)
    assert (window.total, window.failures) == (2, 2)


def test_a_long_pause_costs_no_more_than_a_short_one() -> None:
    window = Window(0.001)
    window.add(0.0, 1, 1, 0)
    window.add(1e12, 1, 0, 0)
    assert (window.total, window.failures) == (1, 0)
