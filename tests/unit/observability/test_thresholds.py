"""A threshold with which an alert could never be right is refused."""

from datetime import timedelta

import msgspec
import pytest

from antiphon.errors import UsageError
from antiphon.observability.thresholds import REMEMBERED, Thresholds

DURATIONS = [field.name for field in msgspec.structs.fields(Thresholds) if field.type is timedelta]
NUMBERS = [field.name for field in msgspec.structs.fields(Thresholds) if field.type is not timedelta]


@pytest.mark.parametrize("name", DURATIONS)
def test_a_negative_duration_is_refused(name):
    with pytest.raises(UsageError, match=f"the threshold {name} was given .*: it must be a whole number of millisec"):
        Thresholds(**{name: timedelta(seconds=-1)})


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
def test_a_number_below_nothing_or_that_is_none_is_refused(name, value):
    with pytest.raises(UsageError, match=f"the threshold {name} was given {value}: it must be a number of at least 0"):
        Thresholds(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("window", timedelta(), "a time to look back over must be longer"),
        ("lag_grows", timedelta(), "a time to look back over must be longer"),
        ("lag", timedelta(microseconds=1), "a whole number of milliseconds"),
        ("slow_handling", timedelta(seconds=10), "was given 10s: it must be below 10s, the longest that is told apart"),
        ("slow_publishing", timedelta(minutes=1), "was given 1m: it must be below 10s"),
        ("gone", REMEMBERED, "was given 1h: it must be below 1h"),
        ("error_ratio", 1.0, "it must be below 1"),
        ("retry_ratio", 1.5, "it must be below 1"),
    ],
)
def test_a_value_that_would_never_alert_is_refused(name, value, told):
    with pytest.raises(UsageError, match=told):
        Thresholds(**{name: value})


def test_no_patience_at_all_is_allowed():
    assert Thresholds(lag=timedelta(), error_ratio=0, dead_letters=0).lag == timedelta()
