"""Whatever fails however often, attempts keep to the policy's schedule; and each rule left out is noticed."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from antiphon.errors import RejectError
from antiphon.resilience.policy import Decision, Fault, Retry, Step

NOTHING, SECOND = timedelta(), timedelta(seconds=1)
NAIVE = {ValueError: Fault.TRANSIENT, RejectError: Fault.PERMANENT, KeyError: Fault.IGNORABLE}
seconds = st.integers(1, 30).map(lambda number: number * SECOND)


class Schedule(RuleBasedStateMachine):
    """Messages fail again and again under a random policy, each until the policy gives it up."""

    kind: ClassVar[type[Retry]] = Retry

    @initialize(
        counts=st.tuples(st.integers(0, 3), st.integers(0, 4)),
        first=st.integers(1, 3),
        factor=st.sampled_from([1, 2, 4]),
        longest=st.integers(3, 20),
        jitter=st.booleans(),
        within=st.none() | seconds,
    )
    def begin(
        self,
        counts: tuple[int, int],
        first: int,
        factor: int,
        longest: int,
        jitter: bool,
        within: timedelta | None,
    ) -> None:
        self.policy = self.kind(
            immediate=counts[0],
            delayed=counts[1],
            first_delay=first * SECOND,
            factor=factor,
            longest_delay=longest * SECOND,
            jitter=jitter,
            within=max(within, first * SECOND) if within else None,
            ignorable=(LookupError,),
        )
        self.is_done = True

    @precondition(lambda self: self.is_done)
    @rule(deadline=st.none() | seconds)
    def next_message(self, deadline: timedelta | None) -> None:
        self.deadline = deadline
        self.now = NOTHING
        self.first_failed: timedelta | None = None
        self.attempts = 0
        self.delays: list[timedelta] = []
        self.is_done = False

    @precondition(lambda self: not self.is_done)
    @rule(
        took=st.sampled_from([NOTHING, NOTHING, SECOND / 2, 4 * SECOND]),
        error=st.sampled_from([ValueError, ValueError, ValueError, ValueError, RejectError, KeyError]),
        chance=st.sampled_from([0.0, 0.5, 1.0, 1.0]),
    )
    def attempt(self, took: timedelta, error: type[Exception], chance: float) -> None:
        self.attempts += 1
        self.check_begin()
        self.now += took
        if self.first_failed is None:
            self.first_failed = self.now
        left = self.deadline - self.now if self.deadline is not None else None
        age = self.now - self.first_failed
        step = self.policy.next_step(self.attempts, error("it fails"), age=age, left=left, chance=chance)
        {
            Fault.TRANSIENT: self.check_transient,
            Fault.PERMANENT: self.check_permanent,
            Fault.IGNORABLE: self.check_ignorable,
        }[NAIVE[error]](step, chance)
        self.now += step.delay
        self.is_done = step.decision in (Decision.PARK, Decision.IGNORE)

    def check_begin(self) -> None:
        policy = self.policy
        assert self.attempts <= 1 + policy.immediate + policy.delayed
        if self.first_failed is not None:
            assert policy.within is None or self.now <= self.first_failed + policy.within
            assert self.deadline is None or self.now < self.deadline

    def check_permanent(self, step: Step, chance: float) -> None:
        assert step == Step(Decision.PARK)

    def check_ignorable(self, step: Step, chance: float) -> None:
        assert step == Step(Decision.IGNORE)

    def check_transient(self, step: Step, chance: float) -> None:
        delay = self.naive_delay(chance)
        if delay is None:
            assert step == Step(Decision.PARK)
        elif self.deadline is not None and self.now + delay >= self.deadline:
            assert step == Step(Decision.PARK, reason="deadline")
        elif self.policy.within is not None and self.now + delay - (self.first_failed or NOTHING) > self.policy.within:
            assert step == Step(Decision.PARK, reason="time")
        elif self.attempts <= self.policy.immediate:
            assert step == Step(Decision.AGAIN)
        else:
            assert step == Step(Decision.LATER, delay)
            self.check_backoff()

    def check_backoff(self) -> None:
        """Backoffs grow up to the longest delay, by the factor."""
        self.delays.append(self.policy.backoff(len(self.delays) + 1))
        assert self.delays == sorted(self.delays)
        assert self.delays[0] == self.policy.first_delay
        assert self.delays[-1] <= self.policy.longest_delay
        for earlier, later in zip(self.delays, self.delays[1:], strict=False):
            assert later in (earlier * self.policy.factor, self.policy.longest_delay)

    def naive_delay(self, chance: float) -> timedelta | None:
        """What the next attempt would wait for, by counting; none when there are no attempts left."""
        number = self.attempts - self.policy.immediate
        if number <= 0:
            return NOTHING
        if number > self.policy.delayed:
            return None
        delay = self.policy.first_delay
        for _ in range(number - 1):
            delay = min(delay * self.policy.factor, self.policy.longest_delay)
        return delay * chance if self.policy.jitter else delay


Schedule.TestCase.settings = settings(max_examples=100, stateful_step_count=20, deadline=None)
TestSchedule = Schedule.TestCase


class NeverParks(Retry):
    def next_step(self, attempt: int, error: BaseException, **known: object) -> Step:
        return super().next_step(min(attempt, self.immediate + self.delayed), error, **known)


class TriesOnceMore(Retry):
    def next_step(self, attempt: int, error: BaseException, **known: object) -> Step:
        return super().next_step(attempt - 1, error, **known)


class GivesUpEarly(Retry):
    def next_step(self, attempt: int, error: BaseException, **known: object) -> Step:
        return super().next_step(attempt + 1, error, **known)


class GrowsWithoutEnd(Retry):
    def backoff(self, number: int) -> timedelta:
        return self.first_delay * self.factor ** (number - 1)


class DoesNotGrow(Retry):
    def backoff(self, number: int) -> timedelta:
        return self.first_delay


class DrawsTooMuch(Retry):
    def next_step(self, attempt: int, error: BaseException, *, chance: float = 1.0, **known: object) -> Step:
        return super().next_step(attempt, error, chance=chance + 0.5, **known)


class NeverDraws(Retry):
    def next_step(self, attempt: int, error: BaseException, *, chance: float = 1.0, **known: object) -> Step:
        return super().next_step(attempt, error, chance=1.0, **known)


class HasAllTheTime(Retry):
    def _unless_late(self, step: Step, age: timedelta, left: timedelta | None) -> Step:
        return super()._unless_late(step, timedelta(-1), left)


class KnowsNoDeadline(Retry):
    def _unless_late(self, step: Step, age: timedelta, left: timedelta | None) -> Step:
        return super()._unless_late(step, age, None)


class ForgetsTheDelay(Retry):
    """Whether there is time is asked for now, not for when the attempt would begin."""

    def _unless_late(self, step: Step, age: timedelta, left: timedelta | None) -> Step:
        now = super()._unless_late(Step(Decision.AGAIN), age, left)
        return step if now.decision is Decision.AGAIN else now


class LetsImmediateRetriesGo(Retry):
    """Only delayed retries ask whether there is time."""

    def _unless_late(self, step: Step, age: timedelta, left: timedelta | None) -> Step:
        return step if step.decision is Decision.AGAIN else super()._unless_late(step, age, left)


class RetriesAnything(Retry):
    def classify(self, error: BaseException) -> Fault:
        return Fault.TRANSIENT


class IgnoresNothing(Retry):
    def classify(self, error: BaseException) -> Fault:
        fault = super().classify(error)
        return Fault.PERMANENT if fault is Fault.IGNORABLE else fault


BROKEN = [each for each in Retry.__subclasses__() if each.__module__ == __name__]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda each: each.__name__)
def test_a_policy_with_a_rule_left_out_is_noticed(broken: type[Retry]) -> None:
    machine = type("Broken", (Schedule,), {"kind": broken})
    search = settings(
        max_examples=1000,
        stateful_step_count=20,
        deadline=None,
        database=None,
        derandomize=True,
        report_multiple_bugs=False,
        phases=[Phase.generate],
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine, settings=search)
