"""Durations and sizes are written with their unit, and read back the same."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.events.amounts import duration, show_duration, show_size, size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("7d", timedelta(days=7)),
        ("1.5h", timedelta(minutes=90)),
        ("1h30m", timedelta(minutes=90)),
        (" 2 w ", timedelta(weeks=2)),
        ("0s", timedelta()),
    ],
)
def test_a_duration_is_numbers_with_units(text, expected):
    assert duration(text) == expected


@pytest.mark.parametrize("text", ["", "5", "s", "5 y", "5s and more", "-5s", "99999999999999999w"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="duration"):
        duration(text)


@pytest.mark.parametrize(("text", "expected"), [("64MB", 64 * 10**6), ("1GiB", 2**30), ("1.5 kb", 1500), ("7B", 7)])
def test_a_size_is_a_number_with_a_unit(text, expected):
    assert size(text) == expected


@pytest.mark.parametrize("text", ["", "64", "MB", "64 XB", "-1MB", "1e3MB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="size"):
        size(text)


@given(st.integers(0, 59), st.sampled_from(["ms", "s", "m"]))
def test_what_is_shown_reads_back(number, unit):
    shown = duration(f"{number}{unit}")
    assert duration(show_duration(shown)) == shown


def test_what_is_shown_has_at_most_two_units():
    assert show_duration(timedelta(days=8, hours=3, seconds=7)) == "8d3h"
    assert show_duration(timedelta(minutes=90)) == "1h30m"
    assert show_duration(timedelta()) == "0s"


def test_sizes_are_shown_with_the_largest_unit_that_fits():
    assert [show_size(value) for value in (0, 999, 1500, 2_500_000)] == ["0 B", "999 B", "1.5 kB", "2.5 MB"]
