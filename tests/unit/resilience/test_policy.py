"""What follows a failed attempt is decided without doing anything."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.errors import (
    AntiphonError,
    DeclarationError,
    DecodeError,
    NewerVersionError,
    RejectError,
    StoreUnavailableError,
    UndeclaredEventError,
)
from antiphon.resilience.policy import AT_ONCE, Decision, Fault, Retry, Step

SECOND = timedelta(seconds=1)
NOTHING = timedelta()
AGAIN, PARK, IGNORE = Step(Decision.AGAIN), Step(Decision.PARK), Step(Decision.IGNORE)
REJECTED = RejectError("never")


def later(seconds: float) -> Step:
    return Step(Decision.LATER, timedelta(seconds=seconds))


def test_retries_at_once_come_first_then_delayed_ones_then_it_is_parked() -> None:
    policy = Retry(immediate=2, delayed=3, first_delay=SECOND, factor=3, longest_delay=5 * SECOND)
    steps = [policy.next_step(attempt, ValueError()) for attempt in range(1, 8)]
    assert steps == [AGAIN, AGAIN, later(1), later(3), later(5), PARK, PARK]


def test_three_immediate_and_five_delayed_retries_are_the_default() -> None:
    steps = [Retry().next_step(attempt, ValueError()) for attempt in range(1, 10)]
    assert steps == [AGAIN, AGAIN, AGAIN, later(1), later(4), later(16), later(64), later(256), PARK]


def test_jitter_draws_the_delay_evenly_from_nothing_to_the_backoff() -> None:
    policy = Retry(immediate=0, first_delay=8 * SECOND)
    assert [policy.next_step(1, ValueError(), chance=chance).delay for chance in (0.0, 0.25, 1.0)] == [
        NOTHING,
        2 * SECOND,
        8 * SECOND,
    ]


def test_without_jitter_the_draw_changes_nothing() -> None:
    policy = Retry(immediate=0, jitter=False)
    assert policy.next_step(1, ValueError(), chance=0.1).delay == SECOND


@pytest.mark.parametrize(
    "error", [REJECTED, DecodeError("m-1", "OrderPlaced", 1, 1, "odd"), UndeclaredEventError("f", "X", [])]
)
def test_what_cannot_change_is_parked_at_once(error: Exception) -> None:
    assert Retry(immediate=9).next_step(1, error) == PARK


def test_what_can_pass_is_tried_again() -> None:
    assert Retry().next_step(1, StoreUnavailableError("busy")) == AGAIN


def test_what_does_not_matter_is_ignored_at_any_attempt() -> None:
    policy = Retry(ignorable=(KeyError,))
    assert policy.next_step(1, KeyError()) == policy.next_step(99, KeyError(), left=NOTHING) == IGNORE


def test_the_nearest_listed_class_counts() -> None:
    policy = Retry(transient=(OSError,), permanent=(Exception, FileNotFoundError), ignorable=(ConnectionError,))
    faults = [policy.classify(each) for each in (OSError(), ConnectionResetError(), FileNotFoundError(), ValueError())]
    assert faults == [Fault.TRANSIENT, Fault.IGNORABLE, Fault.PERMANENT, Fault.PERMANENT]


def test_our_hopeless_errors_are_permanent_unless_listed_themselves() -> None:
    newer = NewerVersionError("m-1", "OrderPlaced", 2, 1)
    assert Retry(transient=(Exception, AntiphonError)).classify(REJECTED) is Fault.PERMANENT
    assert Retry(transient=(RejectError,)).classify(REJECTED) is Fault.TRANSIENT
    assert Retry(ignorable=(NewerVersionError,)).classify(newer) is Fault.IGNORABLE
    assert Retry().classify(newer) is Fault.PERMANENT


def test_a_group_of_errors_is_as_bad_as_the_worst_of_them() -> None:
    policy = Retry(ignorable=(KeyError,))
    deep = ExceptionGroup("deep", [ValueError(), ExceptionGroup("deeper", [REJECTED])])
    assert policy.classify(deep) is Fault.PERMANENT
    assert policy.classify(ExceptionGroup("two", [KeyError(), ValueError()])) is Fault.TRANSIENT
    assert policy.classify(ExceptionGroup("one", [KeyError()])) is Fault.IGNORABLE
    assert policy.classify(BaseExceptionGroup("end", [asyncio.CancelledError(), REJECTED])) is Fault.PERMANENT


def test_a_listed_group_counts_as_listed_whatever_is_in_it() -> None:
    assert Retry(transient=(ExceptionGroup,)).classify(ExceptionGroup("one", [REJECTED])) is Fault.TRANSIENT


@pytest.mark.parametrize(
    ("attempt", "left", "then"),
    [
        (1, timedelta(microseconds=1), AGAIN),
        (1, NOTHING, Step(Decision.PARK, reason="deadline")),
        (2, 4 * SECOND, later(3)),
        (2, 3 * SECOND, Step(Decision.PARK, reason="deadline")),
        (3, NOTHING, PARK),
    ],
)
def test_no_attempt_begins_at_the_deadline_or_later(attempt: int, left: timedelta, then: Step) -> None:
    assert Retry(immediate=1, delayed=1, first_delay=3 * SECOND).next_step(attempt, ValueError(), left=left) == then


@pytest.mark.parametrize(
    ("attempt", "age", "then"),
    [
        (1, 9 * SECOND, AGAIN),
        (1, 10 * SECOND, Step(Decision.PARK, reason="time")),
        (2, 6.5 * SECOND, later(3)),
        (2, 7 * SECOND, Step(Decision.PARK, reason="time")),
        (3, 10 * SECOND, PARK),
    ],
)
def test_no_attempt_begins_later_than_the_policy_has_time(attempt: int, age: timedelta, then: Step) -> None:
    policy = Retry(immediate=1, delayed=1, first_delay=3 * SECOND, within=9.5 * SECOND)
    assert policy.next_step(attempt, ValueError(), age=age) == then


def test_a_short_draw_can_still_make_it_in_time() -> None:
    policy = Retry(immediate=0, first_delay=4 * SECOND)
    assert policy.next_step(1, ValueError(), left=3 * SECOND, chance=0.5) == later(2)


@given(
    st.integers(1, 10**30),
    st.floats(1.0, 1e300),
    st.timedeltas(timedelta(microseconds=1), timedelta.max),
    st.timedeltas(NOTHING, timedelta.max),
)
def test_a_backoff_never_shrinks_overflows_or_passes_the_longest_delay(
    number: int, factor: float, first: timedelta, longest: timedelta
) -> None:
    policy = Retry(first_delay=first, factor=factor, longest_delay=max(first, longest))
    assert first <= policy.backoff(number) <= policy.backoff(number + 1) <= policy.longest_delay


def test_a_backoff_that_does_not_grow_stays_what_it_is() -> None:
    assert Retry(factor=1).backoff(1) == Retry(factor=1).backoff(10**30) == SECOND


REFUSED = [
    ({"immediate": -1}, r"Retry\(immediate=-1\): it cannot be negative"),
    ({"immediate": 1.5}, "whole number"),
    ({"immediate": True}, "whole number"),
    ({"delayed": -1}, r"Retry\(delayed=-1\): it cannot be negative"),
    ({"crashes": 0}, "the least is crashes=1"),
    ({"first_delay": NOTHING}, "longer than nothing"),
    ({"first_delay": 2.0}, r"it is a timedelta, as in first_delay=timedelta\(seconds=30\)"),
    ({"longest_delay": -SECOND}, "longer than nothing"),
    ({"factor": 0.5}, "the least is factor=1"),
    ({"factor": float("nan")}, "finite number"),
    ({"factor": "2"}, "finite number"),
    ({"longest_delay": SECOND / 2}, "lengthen longest_delay or shorten first_delay"),
    ({"within": NOTHING}, "longer than nothing"),
    ({"within": SECOND / 2}, "lengthen within, shorten first_delay, or say delayed=0"),
    ({"transient": (KeyError,), "ignorable": (OSError, KeyError)}, "KeyError is in both; leave it in one of them"),
    ({"permanent": (RejectError,), "transient": (RejectError,)}, "RejectError is in both"),
    ({"permanent": KeyError}, r"tuple of classes, as in permanent=\(TimeoutError,\)"),
    ({"permanent": (int,)}, "no exception class"),
    ({"permanent": ([],)}, "no exception class"),
]


@pytest.mark.parametrize(("given", "told"), REFUSED)
def test_a_policy_that_contradicts_itself_is_refused_with_how_to_mend_it(given: dict[str, object], told: str) -> None:
    with pytest.raises(DeclarationError, match=told):
        Retry(**given)


def test_a_policy_at_the_edge_of_sense_is_accepted() -> None:
    Retry(within=SECOND)
    Retry(within=SECOND / 2, delayed=0)
    Retry(longest_delay=SECOND)
    Retry(permanent=(KeyError, KeyError), crashes=1, factor=1)


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        (AT_ONCE, "park at the first failure"),
        (Retry(delayed=0), "3 immediate retries, then park; rejected and undecodable messages park at once"),
        (
            Retry(),
            (
                "3 immediate retries, 5 delayed over up to 5m41s, then park; "
                "rejected and undecodable messages park at once"
            ),
        ),
        (
            Retry(immediate=0, delayed=1, jitter=False),
            "1 delayed retry after 1s, then park; rejected and undecodable messages park at once",
        ),
        (
            Retry(immediate=1, delayed=2, within=timedelta(minutes=1), permanent=(KeyError, OSError)),
            (
                "1 immediate retry, 2 delayed over up to 5s, none later than 1m after the first failure, then park; "
                "rejected and undecodable messages park at once; permanent: KeyError, OSError"
            ),
        ),
        (
            Retry(delayed=0, transient=(RejectError,)),
            "3 immediate retries, then park; undecodable messages park at once; transient: RejectError",
        ),
        (
            Retry(immediate=0, delayed=10**15),
            (
                "1000000000000000 delayed retries over up to 36500d, then park; "
                "rejected and undecodable messages park at once"
            ),
        ),
    ],
)
def test_it_says_in_a_line_what_it_does(policy: Retry, told: str) -> None:
    assert policy.describe() == told
