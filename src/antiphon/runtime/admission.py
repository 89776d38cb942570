"""May a work begin now? If not, it is held, set aside, or goes back; it never counts as an attempt."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from antiphon.events.clock import Clock
from antiphon.runtime.asides import Asides
from antiphon.runtime.blocks import Blocks
from antiphon.runtime.claims import claim_of
from antiphon.runtime.gates import Gates
from antiphon.runtime.pauses import Pauses
from antiphon.runtime.window import FINISHED, RELEASED, WAITING
from antiphon.runtime.work import Work

DEADLINE = "deadline"
"""The reason of what is parked since its deadline passed."""


class Admission:
    """Asked before each attempt. `held`, `blocks.any` and `special` say cheaply whether it must be asked at all."""

    def __init__(self, pauses: Pauses, blocks: Blocks, gates: Gates, asides: Asides, clock: Clock) -> None:
        self.pauses, self.blocks, self.gates = pauses, blocks, gates
        self.held, self.special = pauses.held, gates.special
        self._asides, self._clock = asides, clock
        self.draining = False
        """No further message is begun; what is in hand may end."""
        self.went_back: Callable[[], None] = lambda: None

    def goes_on(self, work: Work) -> bool:
        """Whether a work in hand is still ours to decide on: not lost, and no drain began."""
        return work.delivery.state == WAITING and not self.draining

    def admits(self, work: Work) -> bool:
        """Whether to handle a work now. If not, it is where it belongs."""
        if not self.lets_in(work):
            return False
        if work.delivery.message.deadline is None or not self.is_late(work):
            return True
        if work.route.reply is None:
            self._asides.put(work, self._asides.parked(work, work.past, DEADLINE, None))
        else:  # nobody waits for it any more
            work.delivery.state = FINISHED
            self.went_back()
        return False

    def lets_in(self, work: Work) -> bool:
        """As `admits`, whatever its deadline: for who parks in a transaction of their own."""
        delivery = work.delivery
        if delivery.state != WAITING or self.draining:
            return False
        if self.held and self._is_held(work):
            return False
        if self.blocks.may_hold(delivery) and self.blocks.holds(work):
            self._go_behind(work)
            return False
        return not (self.special and not self.gates.admits(work))

    def _is_held(self, work: Work) -> bool:
        """Whether its partition waits, and it with that: what was let in before goes on, unless it would overtake."""
        if claim_of(work.delivery) is not None or work.delivery.partition not in self.held:
            return False
        if self.gates.has_let_in(work) and self.pauses.lets_pass(work):
            return False
        self.gates.let_go(work)
        return self.pauses.hold_behind((work,))

    def admitted(self, works: Sequence[Work]) -> list[Work]:
        """Those of `works` that may begin."""
        return [work for work in works if self.admits(work)]

    def first_of(self, works: Sequence[Work]) -> tuple[list[Work], Sequence[Work]]:
        """Those of `works` that may begin now, and what is left for after them.

        One that is late is left while anything before it is not done: parked at once, it would block what came first.
        """
        found: list[Work] = []
        for index, work in enumerate(works):
            if found and self._has_passed(work):
                return found, works[index:]
            if self.admits(work):
                found.append(work)
        return found, ()

    def give_back(self, work: Work) -> None:
        """Let a claimed work go back to what is set aside, as it was."""
        work.delivery.state = RELEASED
        self.went_back()

    def _go_behind(self, work: Work) -> None:
        self.gates.let_go(work)
        if claim_of(work.delivery) is None:
            self._asides.put(work, self._asides.behind(work))
        else:
            self.give_back(work)

    def is_late(self, work: Work) -> bool:
        """Whether its deadline has passed, so that it is to be parked; it is counted then."""
        if not self._has_passed(work):
            return False
        if work.route.gate is not None:
            work.route.gate.failed(work.delivery, TimeoutError(), passing=False)
        work.route.instruments.late.inc()
        return True

    def _has_passed(self, work: Work) -> bool:
        deadline = work.delivery.message.deadline
        return deadline is not None and not work.is_redriven and self._clock.now() >= deadline
