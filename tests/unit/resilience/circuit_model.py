"""What a circuit must do, said as naively as can be, and a machine that compares a real one with it at every step."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar, NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from antiphon.resilience.breaker import Breaker, Circuit, CircuitState, Permit
from antiphon.resilience.window import BUCKETS

QUICK, SLOW = timedelta(milliseconds=250), timedelta(seconds=2)

BREAKERS = [
    Breaker(least=4, window=timedelta(seconds=10), rest=timedelta(seconds=5), permit_expiry=timedelta(seconds=4)),
    Breaker(
        failure_rate=0.75,
        slow=timedelta(seconds=1),
        slow_rate=0.6,
        least=5,
        window=timedelta(seconds=10),
        rest=timedelta(seconds=3),
        trials=2,
        permit_expiry=timedelta(seconds=8),
    ),
]


class Ended(NamedTuple):
    """One outcome in the model's list, which forgets nothing."""

    time: float
    failed: bool
    slow: bool


class Model:
    """Keeps every outcome and every trial, and counts them anew for each question."""

    def __init__(self, breaker: Breaker) -> None:
        self.breaker = breaker
        self.now = 0.0
        self.state, self.generation, self.opened, self.opened_at = CircuitState.CLOSED, 1, 0, 0.0
        self.ended: list[Ended] = []
        self.given: dict[Permit, float] = {}
        self.good_trials: list[bool] = []

    def begin(self, state: CircuitState) -> None:
        self.state = state
        self.generation += 1
        self.ended, self.given, self.good_trials = [], {}, []
        if state is CircuitState.OPEN:
            self.opened += 1
            self.opened_at = self.now

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        if self.state is CircuitState.OPEN and self.now >= self.opened_at + self.breaker.rest.total_seconds():
            self.begin(CircuitState.HALF_OPEN)

    def awaited(self) -> list[Permit]:
        expiry = self.breaker.permit_expiry.total_seconds()
        return [permit for permit, at in self.given.items() if self.now < at + expiry]

    def admits(self) -> bool:
        if self.state is CircuitState.HALF_OPEN:
            return len(self.awaited()) + len(self.good_trials) < self.breaker.trials
        return self.state is CircuitState.CLOSED

    def report(self, permit: Permit, failed: bool, slow: bool) -> None:
        slow = slow and self.breaker.slow is not None
        if permit.generation != self.generation:
            return
        if self.state is CircuitState.CLOSED:
            self.ended.append(Ended(self.now, failed, slow))
            self.judge()
        elif permit in self.awaited():
            del self.given[permit]
            self.judge_trial(failed, slow)

    def recent(self) -> list[Ended]:
        """The outcomes of the window: all that are surely inside, none that is surely outside."""
        seconds = self.breaker.window.total_seconds()
        part = seconds / BUCKETS
        found = [each for each in self.ended if each.time // part > self.now // part - BUCKETS]
        assert all(each in found for each in self.ended if each.time >= self.now - seconds + part)
        assert all(each.time > self.now - seconds for each in found)
        return found

    def judge(self) -> None:
        recent = self.recent()
        failures, slow = sum(each.failed for each in recent), sum(each.slow for each in recent)
        rates = failures / len(recent) >= self.breaker.failure_rate or slow / len(recent) >= self.breaker.slow_rate
        if rates and len(recent) >= self.breaker.least:
            self.begin(CircuitState.OPEN)

    def judge_trial(self, failed: bool, slow: bool) -> None:
        self.good_trials.append(slow)
        if failed:
            self.begin(CircuitState.OPEN)
        elif len(self.good_trials) == self.breaker.trials:
            too_slow = sum(self.good_trials) / self.breaker.trials >= self.breaker.slow_rate
            self.begin(CircuitState.OPEN if too_slow else CircuitState.CLOSED)

    def release(self, permit: Permit) -> None:
        self.given.pop(permit, None)


class CircuitMachine(RuleBasedStateMachine):
    """Calls begin, end, end late, end twice and never end, in any order; circuit and model agree throughout."""

    kind: ClassVar[type[Circuit]] = Circuit
    which = st.integers(0, 9)

    @initialize(breaker=st.sampled_from(BREAKERS))
    def begin(self, breaker: Breaker) -> None:
        self.model = Model(breaker)
        self.circuit = self.kind(breaker, lambda: self.model.now)
        self.permits: list[Permit] = []

    def some_permit(self, which: int) -> Permit:
        """One of the latest, whatever has become of it."""
        return self.permits[-1 - which % len(self.permits)]

    @rule(quarters=st.sampled_from([1, 1, 2, 4, 8, 15, 40]))
    def pass_time(self, quarters: int) -> None:
        self.model.pass_time(quarters / 4)

    @rule(times=st.integers(1, 6))
    def ask(self, times: int) -> None:
        for _ in range(times):
            expected, permit = self.model.admits(), self.circuit.admit()
            assert (permit is not None) == expected
            if permit is not None:
                assert permit.generation == self.model.generation
                self.permits.append(permit)
                if self.model.state is CircuitState.HALF_OPEN:
                    assert permit not in self.model.given
                    self.model.given[permit] = self.model.now

    @precondition(lambda self: self.permits)
    @rule(which=which, failed=st.booleans(), slow=st.booleans())
    def report(self, which: int, failed: bool, slow: bool) -> None:
        permit, took = self.some_permit(which), SLOW if slow else QUICK
        (self.circuit.failed if failed else self.circuit.succeeded)(permit, took)
        self.model.report(permit, failed, slow)

    @precondition(lambda self: self.permits)
    @rule(which=which)
    def release(self, which: int) -> None:
        permit = self.some_permit(which)
        self.circuit.released(permit)
        self.model.release(permit)

    @rule(successes=st.integers(1, 4), late=st.booleans())
    def note(self, successes: int, late: bool) -> None:
        generation = self.model.generation - late
        self.circuit.note(generation, successes, slow=0)
        if self.model.state is CircuitState.CLOSED and not late:
            self.model.ended += [Ended(self.model.now, False, False)] * successes
            self.model.judge()

    @precondition(lambda self: self.model.state is CircuitState.CLOSED)
    @rule(outcomes=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=6))
    def many_calls(self, outcomes: list[tuple[bool, bool]]) -> None:
        for failed, slow in outcomes:
            if self.model.state is CircuitState.CLOSED:
                self.ask(1)
                self.report(0, failed, slow)

    @precondition(lambda self: self.model.state is CircuitState.CLOSED)
    @rule()
    def outage(self) -> None:
        """Everything fails until it opens."""
        self.many_calls([(True, False)] * 20)

    @precondition(lambda self: self.model.state is CircuitState.HALF_OPEN)
    @rule(failed=st.booleans(), slow=st.booleans())
    def let_trials_end(self, failed: bool, slow: bool) -> None:
        self.ask(self.model.breaker.trials)
        for permit in self.model.awaited():
            (self.circuit.failed if failed else self.circuit.succeeded)(permit, SLOW if slow else QUICK)
            self.model.report(permit, failed, slow)

    @precondition(lambda self: not self.model.admits())
    @rule()
    def wait(self) -> None:
        """Whoever waits as long as it says gets a permit, from whatever state, even when nobody ever reports."""
        wait = self.circuit.wait()
        assert wait is not None
        self.model.pass_time(wait.total_seconds())
        assert self.model.admits()
        self.ask(1)

    @invariant()
    def they_agree(self) -> None:
        if not hasattr(self, "model"):
            return
        assert self.circuit.state == self.model.state
        assert (self.circuit.generation, self.circuit.opened) == (self.model.generation, self.model.opened)
        assert (self.circuit.wait() is None) == (self.model.state is CircuitState.CLOSED)
        assert (self.circuit.wait() == timedelta()) == (
            self.model.state is CircuitState.HALF_OPEN and self.model.admits()
        )

    @invariant()
    def trials_stay_within_their_number(self) -> None:
        if hasattr(self, "model"):
            assert len(self.model.awaited()) + len(self.model.good_trials) <= self.model.breaker.trials
