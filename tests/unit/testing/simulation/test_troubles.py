"""Troubles are drawn from a seed, and what is raised is what a policy lists."""

import asyncio
from random import Random

import pytest

from antiphon.errors import RejectError
from antiphon.resilience import Fault, Retry
from antiphon.testing.simulation.troubles import (
    ALL_TROUBLES,
    HEALTHY,
    Ailment,
    SimulatedError,
    Trouble,
    Weather,
    draw_ailment,
    error_of,
)

SEEDS = range(200)
POLICY = Retry(permanent=(ValueError,), ignorable=(LookupError, KeyError))


def test_the_same_seed_draws_the_same() -> None:
    for seed in SEEDS:
        first, second = [draw_ailment(Random(seed), POLICY, 0.5) for _ in range(2)]
        assert first == second
    assert len({draw_ailment(Random(seed), POLICY, 0.5) for seed in SEEDS}) > 10


def test_nobody_is_ill_where_nothing_is_to_fail() -> None:
    assert {draw_ailment(Random(seed), POLICY, 0) for seed in SEEDS} == {HEALTHY}


def test_nothing_is_ignored_where_a_policy_ignores_nothing() -> None:
    kinds = {draw_ailment(Random(seed), Retry(), 1).kind for seed in SEEDS}
    assert kinds == {"transient", "permanent", "canceled"}


@pytest.mark.parametrize(
    ("ailment", "policy", "expected", "fault"),
    [
        (Ailment("transient"), POLICY, SimulatedError, Fault.TRANSIENT),
        (Ailment("permanent"), POLICY, ValueError, Fault.PERMANENT),
        (Ailment("permanent"), Retry(), RejectError, Fault.PERMANENT),
        (Ailment("ignorable"), POLICY, LookupError, Fault.IGNORABLE),
    ],
)
def test_what_is_raised_is_what_the_policy_lists(ailment, policy, expected, fault) -> None:
    error = error_of(ailment, policy, "failure 1")
    assert type(error) is expected
    assert policy.classify(error) is fault
    assert str(error) == "failure 1"


def test_a_class_that_changes_its_text_is_not_used() -> None:
    error = error_of(Ailment("ignorable"), Retry(ignorable=(KeyError,)), "failure 1")
    assert (type(error), str(error)) == (SimulatedError, "failure 1")


def test_a_cancellation_is_one() -> None:
    assert isinstance(error_of(Ailment("canceled"), POLICY, "failure 1"), asyncio.CancelledError)


def test_what_is_left_out_never_comes() -> None:
    for seed in SEEDS:
        weather = Weather(Random(seed), ALL_TROUBLES - {Trouble.CRASH})
        assert weather.rate(Trouble.CRASH) == 0
        assert not weather.strikes(Trouble.CRASH, 1)


def test_no_trouble_comes_after_their_end() -> None:
    weather = Weather(Random(1), ALL_TROUBLES)
    weather.end()
    assert not any(weather.strikes(trouble, 1) for trouble in Trouble)
