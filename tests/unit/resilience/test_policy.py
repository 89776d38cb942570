"""What follows a failed attempt is decided without doing anything."""

from __future__ import annotations

import pytest

from antiphon.errors import (
    DeclarationError,
    DecodeError,
    RejectError,
    StoreUnavailableError,
    UndeclaredEventError,
)
from antiphon.resilience.policy import Decision, Retry


def test_attempts_go_on_until_the_retries_are_used_up():
    policy = Retry(immediate=2)
    decisions = [policy.decide(attempt, ValueError()) for attempt in (1, 2, 3, 4)]
    assert decisions == [Decision.AGAIN, Decision.AGAIN, Decision.PARK, Decision.PARK]


def test_three_retries_are_the_default():
    assert Retry().immediate == 3


@pytest.mark.parametrize(
    "error", [RejectError("never"), DecodeError("m-1", "OrderPlaced", 1, 1, "odd"), UndeclaredEventError("f", "X", [])]
)
def test_what_cannot_change_is_parked_at_once(error):
    assert Retry(immediate=9).decide(1, error) is Decision.PARK


def test_what_can_pass_is_tried_again():
    assert Retry().decide(1, StoreUnavailableError("busy")) is Decision.AGAIN


def test_fewer_than_no_retries_are_refused():
    with pytest.raises(DeclarationError, match="the number of retries cannot be negative"):
        Retry(immediate=-1)


@pytest.mark.parametrize(
    ("immediate", "told"),
    [(0, "park at the first failure"), (1, "1 immediate retry, then park"), (3, "3 immediate retries, then park")],
)
def test_it_says_in_a_line_what_it_does(immediate, told):
    assert Retry(immediate=immediate).describe().startswith(told)
