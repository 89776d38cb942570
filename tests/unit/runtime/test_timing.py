"""When an event is to be published is one clear moment, or it is refused."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from antiphon.errors import UsageError
from antiphon.runtime.timing import Timing, read_timing

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def read(at=None, delay=None, deadline=None):
    return read_timing(NOW, at=at, delay=delay, deadline=deadline)


def test_without_a_time_it_is_now():
    assert read() == Timing(None, None)


def test_a_moment_is_kept_in_utc():
    found = read(at=datetime(2026, 1, 1, 15, tzinfo=timezone(HOUR)))
    assert found == Timing(NOW + 2 * HOUR, None)
    assert found.at.tzinfo is UTC


def test_a_moment_that_has_passed_is_due_at_once():
    assert read(at=NOW - HOUR).at == NOW - HOUR


def test_a_delay_counts_from_now():
    assert read(delay=HOUR).at == NOW + HOUR
    assert read(delay=timedelta()).at == NOW


def test_a_deadline_is_a_moment_or_counts_from_the_publishing():
    assert read(deadline=NOW + HOUR).deadline == NOW + HOUR
    assert read(deadline=HOUR).deadline == NOW + HOUR
    assert read(delay=HOUR, deadline=HOUR).deadline == NOW + 2 * HOUR
    assert read(at=NOW + HOUR, deadline=NOW + 2 * HOUR).deadline == NOW + 2 * HOUR


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"at": NOW, "delay": HOUR}, "both say when; give one of them"),
        ({"at": datetime(2026, 1, 1)}, "has no time zone"),  # noqa: DTZ001 - that is what is refused
        ({"deadline": datetime(2027, 1, 1)}, "has no time zone"),  # noqa: DTZ001
        ({"delay": -HOUR}, "give a delay of zero or more"),
        ({"delay": timedelta.max}, "give a shorter duration"),
        ({"deadline": timedelta.max}, "give a shorter duration"),
        ({"deadline": NOW}, "it is over when the event is published, now"),
        ({"deadline": -HOUR}, "give a later one"),
        ({"deadline": timedelta()}, "give a later one"),
        ({"at": NOW + HOUR, "deadline": NOW + HOUR}, "it is over when the event is published, at 2026-01-01 13:00"),
    ],
)
def test_a_time_that_cannot_be_is_refused_with_what_to_do(given, told):
    with pytest.raises(UsageError, match="publish\\(") as caught:
        read(**given)
    assert told in str(caught.value)
