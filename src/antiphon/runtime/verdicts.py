"""What becomes of a work whose attempt failed: its policy decides, and it is carried out here."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from antiphon.errors import AntiphonError, NewerVersionError
from antiphon.observability.hooks import Failed
from antiphon.resilience import Decision, Fault, Step
from antiphon.runtime.admission import DEADLINE
from antiphon.runtime.asides import Asides
from antiphon.runtime.claims import claim_of
from antiphon.runtime.gate import Gate, Stop
from antiphon.runtime.pauses import LONGEST_WAIT
from antiphon.runtime.surroundings import Surroundings, reason_of
from antiphon.runtime.work import Work, attempt_of, tried
from antiphon.storage.set_aside import Attempt, SetAside

Draw = Callable[[], float]
"""A random number from 0 to 1."""


class Verdicts:
    """Decides on failed attempts of one consumer."""

    def __init__(self, surroundings: Surroundings, draw: Draw = random.random) -> None:
        self._surroundings, self._draw = surroundings, draw

    @property
    def asides(self) -> Asides:
        return self._surroundings.asides

    def decide(self, work: Work, attempts: list[Attempt], error: Exception) -> Step | None:
        """Note a failed attempt and say what follows; None when the work waits in hand, or went back, uncounted."""
        surroundings, route = self._surroundings, work.route
        if route.reply is not None:
            surroundings.answers.forget(work.delivery)
        if isinstance(error, NewerVersionError) and route.newer == "pause":
            return self._wait_for_newer(work, error)
        if route.gate is not None and self._is_stopped(route.gate, work, attempts, error):
            return None
        now = surroundings.clock.now()
        attempts.append(attempt_of(error, now))
        route.instruments.failed(error)
        if surroundings.hooks.failed:
            told = Failed(surroundings.service, route.name, work.delivery.message, len(attempts), error)
            surroundings.hooks.failed(told)
        deadline = None if work.is_redriven else work.delivery.message.deadline
        counted = attempts[work.forgiven :]
        step = route.policy.next_step(
            len(counted),
            error,
            age=now - counted[0].time,
            left=None if deadline is None else deadline - now,
            chance=self._draw(),
        )
        if step.decision is Decision.AGAIN:
            route.instruments.retries.inc()
            failed, shown = len(attempts), _shown(error)
            # Without its traceback an error would be told without its text.
            why = "" if shown is not None else f": {attempts[-1].error}: {attempts[-1].text}"
            surroundings.log.warning("attempt %d failed, trying again%s", failed, why, exc_info=shown)
        elif route.reply is not None and step.decision is not Decision.LATER:
            return self.given_up(work, error)
        elif step.reason == DEADLINE:
            route.instruments.late.inc()
        return step

    def given_up(self, work: Work, error: Exception) -> Step:
        """What follows when nothing more is tried: it is parked; of a request, whoever asked is told instead."""
        if work.route.reply is None:
            return Step(Decision.PARK)
        self._surroundings.answers.failed(work.route, work.delivery, error)
        return Step(Decision.IGNORE)

    def aside(self, work: Work, attempts: list[Attempt], step: Step, error: Exception) -> SetAside:
        """What is set aside of a work whose next step is LATER or PARK."""
        if step.decision is Decision.LATER:
            return self.asides.delayed(work, attempts, step.delay)
        return self.asides.parked(work, attempts, step.reason or reason_of(error), error)

    def carry_out(self, work: Work, attempts: list[Attempt], step: Step, error: Exception) -> None:
        """Do what was decided, outside of any transaction; AGAIN is the caller's."""
        if step.decision is Decision.IGNORE:
            self.ignore(work, error)
            self._surroundings.finished(work.delivery)
        else:
            self.asides.put(work, self.aside(work, attempts, step, error))

    def ignore(self, work: Work, error: Exception) -> None:
        """Count and tell a failure that does not matter. Of a request it was told."""
        if work.route.reply is not None:
            return
        work.route.instruments.ignored(error)
        self._surroundings.log.info("a failure is ignored, as its policy says: %r", error)

    def _wait_for_newer(self, work: Work, error: NewerVersionError) -> Step | None:
        surroundings = self._surroundings
        if claim_of(work.delivery) is not None:
            # It has left its partition: nothing is held back by it but its own lane.
            surroundings.asides.put(work, surroundings.asides.delayed(work, work.past, LONGEST_WAIT))
        elif surroundings.pauses.pause(work, error):
            surroundings.instruments.paused(work.delivery.partition.topic, "newer version")
        return None

    def _is_stopped(self, gate: Gate, work: Work, attempts: Sequence[Attempt], error: Exception) -> bool:
        """Tell the gate; while its topic is stopped the work waits, in hand or set aside, and no attempt counts."""
        surroundings = self._surroundings
        stop = gate.failed(work.delivery, error, passing=work.route.policy.classify(error) is Fault.TRANSIENT)
        surroundings.gates.tell(gate)
        if work.route.settles_first:
            return False  # it may not run again, so it cannot wait for better times
        if stop is Stop.HOLD:
            surroundings.gates.hold(tried(work, attempts))
        elif stop is Stop.ASIDE and gate.circuit is not None:
            self.asides.put(work, self.asides.delayed(work, attempts, gate.circuit.breaker.rest))
        return stop is not Stop.NO


def _shown(error: BaseException) -> BaseException | None:
    """The traceback is worth a log entry for errors of user code; ours say enough in one line."""
    return None if isinstance(error, AntiphonError) else error
