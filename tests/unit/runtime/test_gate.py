"""What lets the messages of a topic through, and what stops them: each permit is given once and comes back."""

from __future__ import annotations

from datetime import timedelta

import pytest

from antiphon.errors import RejectError
from antiphon.resilience import Breaker, RateLimit
from antiphon.runtime.gate import Gate, Stop
from antiphon.runtime.window import FINISHED, LOST
from antiphon.testing.clock import VirtualClock
from tests.unit.runtime.shop_events import deliveries

REST = timedelta(seconds=30)
BREAKER = Breaker(least=1, rest=REST, trials=2)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def make(clock):
    return lambda breaker=None, limit=None: Gate("orders", breaker, limit, clock.monotonic)


def fail(gate: Gate, delivery, error: Exception | None = None, *, passing: bool = True) -> Stop:
    gate.began(delivery, gate.generation)
    return gate.failed(delivery, error or ConnectionError(), passing=passing)


def test_without_breaker_and_limit_nothing_is_asked_and_everything_passes(make):
    gate = make()
    assert not gate.is_special
    assert all(gate.admit(each) for each in deliveries(100))
    assert gate.state == "flows"


async def test_it_asks_by_name_only_while_something_acts(make, clock):
    gate, (one,) = make(BREAKER), deliveries(1)
    assert not gate.is_special
    assert fail(gate, one) is Stop.HOLD
    assert (gate.is_special, gate.state) == (True, "open")
    await clock.advance(REST)
    assert (gate.is_special, gate.state) == (True, "half_open")
    assert make(limit=RateLimit(messages=1)).is_special


async def test_half_open_it_lets_as_many_through_as_trials_and_closes_when_they_succeeded(make, clock):
    gate, some = make(BREAKER), deliveries(4)
    fail(gate, some[0])
    assert not gate.admit(some[0])
    await clock.advance(REST)
    assert [gate.admit(each) for each in some] == [True, True, False, False]
    assert [gate.admit(each) for each in some] == [True, True, False, False]
    gate.succeeded(some[0], 0.1)
    assert not gate.admit(some[2])
    gate.succeeded(some[1], 0.1)
    assert gate.state == "flows"
    assert gate.admit(some[2])


async def test_a_permit_that_is_let_go_goes_to_another(make, clock):
    gate, some = make(BREAKER), deliveries(3)
    fail(gate, some[0])
    await clock.advance(REST)
    assert [gate.admit(each) for each in some] == [True, True, False]
    gate.let_go(some[0])
    gate.let_go(some[0])
    assert not gate.has_let_in(some[0])
    assert gate.admit(some[2])
    assert not gate.admit(some[0])


@pytest.mark.parametrize("state", [FINISHED, LOST])
async def test_what_is_out_of_hand_occupies_no_permit(make, clock, state):
    gate, some = make(BREAKER), deliveries(3)
    fail(gate, some[0])
    await clock.advance(REST)
    assert [gate.admit(each) for each in some] == [True, True, False]
    some[1].state = state
    gate.forget()
    assert gate.has_let_in(some[0])
    assert gate.admit(some[2])


async def test_what_was_let_in_before_the_circuit_changed_is_asked_again(make, clock):
    gate, some = make(BREAKER), deliveries(3)
    fail(gate, some[0])
    await clock.advance(REST)
    assert gate.admit(some[1])
    assert gate.admit(some[2])
    assert gate.failed(some[1], ConnectionError(), passing=True) is Stop.ASIDE
    assert not gate.has_let_in(some[2])
    assert not gate.admit(some[2])


async def test_a_late_outcome_of_an_earlier_generation_is_ignored(make, clock):
    gate, some = make(BREAKER), deliveries(3)
    gate.began(some[1], gate.generation)
    fail(gate, some[0])
    await clock.advance(REST)
    assert gate.admit(some[2])
    assert gate.failed(some[1], ConnectionError(), passing=True) is Stop.NO
    assert gate.state == "half_open"


@pytest.mark.parametrize(("error", "passing"), [(RejectError("no"), True), (ConnectionError(), False)])
def test_what_is_the_message_s_fault_opens_nothing(make, error, passing):
    gate = make(BREAKER)
    assert all(fail(gate, each, error, passing=passing) is Stop.NO for each in deliveries(10))
    assert gate.state == "flows"


def test_who_fails_before_and_after_others_succeeded_is_to_blame_itself(make):
    """Held back, it would open the breaker again and again; its policy decides instead."""
    gate, (bad, good) = make(Breaker(least=1, failure_rate=0.01)), deliveries(2)
    assert fail(gate, bad) is Stop.HOLD
    gate.note(gate.generation, 3, 0)
    gate.began(good, gate.generation)
    gate.succeeded(good, 0)
    assert fail(gate, bad) is Stop.NO


def test_a_rate_counts_each_message_once_however_often_it_is_asked_for(make):
    gate, some = make(limit=RateLimit(messages=10, burst=2)), deliveries(3)
    assert all(gate.admit(some[0]) for _ in range(5))
    assert [gate.admit(each) for each in some] == [True, True, False]
    gate.succeeded(some[0], 0)
    assert not gate.admit(some[0])


async def test_where_the_rate_refuses_no_trial_is_lost(make, clock):
    gate, some = make(Breaker(least=1, rest=REST, trials=1), RateLimit(messages=1, per=REST, burst=1)), deliveries(3)
    assert gate.admit(some[0])
    assert gate.failed(some[0], ConnectionError(), passing=True) is Stop.HOLD
    assert gate.wait() == REST
    await clock.advance(REST)
    assert gate.admit(some[0])
    gate.let_go(some[0])
    assert not gate.admit(some[1])
    await clock.advance(REST)
    assert gate.admit(some[1])


async def test_it_says_how_long_until_something_may_pass(make, clock):
    gate, (one,) = make(BREAKER, RateLimit(messages=1, per=2 * REST)), deliveries(1)
    assert gate.wait() == timedelta()
    assert gate.admit(one)
    assert gate.wait() == 2 * REST
    gate.failed(one, ConnectionError(), passing=True)
    await clock.advance(REST)
    assert gate.wait() == REST


def test_what_an_operator_paused_lets_nothing_through_and_says_why(make):
    gate, (one,) = make(), deliveries(1)
    gate.paused = "a migration"
    assert (gate.is_special, gate.admit(one), gate.wait()) == (True, False, None)
    assert (gate.state, gate.why) == ("paused", "a migration")
    gate.began(one, gate.generation)
    assert gate.failed(one, ConnectionError(), passing=True) is Stop.HOLD


def test_slow_successes_that_were_counted_together_open_it(make):
    gate = make(Breaker(least=4, slow=timedelta(seconds=1), slow_rate=0.5))
    assert gate.slow == 1.0
    gate.note(gate.generation, 4, 1)
    assert gate.state == "flows"
    gate.note(gate.generation, 2, 2)
    assert gate.state == "open"
    assert make().slow == float("inf")
