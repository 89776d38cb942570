"""Whatever happens in whatever order, a circuit does what a naive model does, and each rule left out is noticed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from msgspec.structs import replace

from antiphon.resilience.breaker import Breaker, Circuit, CircuitState, Permit
from tests.unit.resilience.circuit_model import CircuitMachine

CircuitMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestCircuit = CircuitMachine.TestCase
Monotonic = Callable[[], float]


class OpensOnTooFew(Circuit):
    def __init__(self, breaker: Breaker, monotonic: Monotonic) -> None:
        super().__init__(replace(breaker, least=1), monotonic)


class OpensTooLate(Circuit):
    def __init__(self, breaker: Breaker, monotonic: Monotonic) -> None:
        super().__init__(replace(breaker, failure_rate=0.9), monotonic)


class IgnoresSlowCalls(Circuit):
    def __init__(self, breaker: Breaker, monotonic: Monotonic) -> None:
        super().__init__(replace(breaker, slow=None, slow_rate=1.0), monotonic)


class NeverForgets(Circuit):
    def __init__(self, breaker: Breaker, monotonic: Monotonic) -> None:
        super().__init__(replace(breaker, window=timedelta(hours=1)), monotonic)


class ForgetsTooSoon(Circuit):
    def __init__(self, breaker: Breaker, monotonic: Monotonic) -> None:
        super().__init__(replace(breaker, window=timedelta(seconds=5)), monotonic)


class ClosesTooSoon(Circuit):
    def __init__(self, breaker: Breaker, monotonic: Monotonic) -> None:
        super().__init__(replace(breaker, trials=1), monotonic)


class RestsTooShort(Circuit):
    def __init__(self, breaker: Breaker, monotonic: Monotonic) -> None:
        super().__init__(replace(breaker, rest=timedelta(seconds=1)), monotonic)


class NeverRested(Circuit):
    def _has_rested(self) -> bool:
        return False


class LeaksTrials(Circuit):
    def _has_room(self) -> bool:
        return True


class LeaksATrialAfterASuccess(Circuit):
    def _has_room(self) -> bool:
        return len(self._expiries) < self.breaker.trials


class KeepsPermitsForever(Circuit):
    def _expire(self, now: float) -> None:
        pass


class BelievesExpiredTrials(Circuit):
    def _end_trial(self, permit: Permit, now: float) -> bool:
        super()._end_trial(permit, now)
        return True


class BelievesATrialTwice(Circuit):
    def _end_trial(self, permit: Permit, now: float) -> bool:
        return permit.number in self._expiries


class BelievesLateOutcomes(Circuit):
    def _report(self, permit: Permit, took: timedelta, failures: int) -> None:
        super()._report(permit._replace(generation=self.generation), took, failures)


class BelievesLateNotes(Circuit):
    def note(self, generation: int, successes: int, slow: int = 0) -> None:
        super().note(self.generation, successes, slow)


class KeepsReleasedPermits(Circuit):
    def released(self, permit: Permit) -> None:
        pass


class ForgivesAFailedTrial(Circuit):
    def _judge_trial(self, failures: int, slow: int) -> None:
        super()._judge_trial(0, slow)


class ForgivesSlowTrials(Circuit):
    def _judge_trial(self, failures: int, slow: int) -> None:
        super()._judge_trial(failures, 0)


class KeepsItsGeneration(Circuit):
    def _begin(self, state: CircuitState) -> None:
        super()._begin(state)
        self.generation = 1
        self._for_all = Permit(1, 0)


class WaitsTooShort(Circuit):
    def wait(self) -> timedelta | None:
        wait = super().wait()
        return wait / 2 if wait else wait


BROKEN = [each for each in Circuit.__subclasses__() if each.__module__ == __name__]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda each: each.__name__)
def test_a_circuit_with_a_rule_left_out_is_noticed(broken: type[Circuit]) -> None:
    machine = type("Broken", (CircuitMachine,), {"kind": broken})
    search = settings(
        max_examples=1000,
        stateful_step_count=40,
        deadline=None,
        database=None,
        derandomize=True,
        report_multiple_bugs=False,
        phases=[Phase.generate],
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine, settings=search)
