"""What may stop one topic in this process: its breaker, its rate limit, and an operator's pause."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from enum import StrEnum
from math import inf
from typing import Protocol

from antiphon.brokers.ports import Delivery
from antiphon.resilience import Breaker, Circuit, CircuitState, Permit, Rate, RateLimit
from antiphon.runtime.window import WAITING

_FREE = Permit(-1, 0)
"""Where there is no circuit to ask."""


_MOST_BLAMED = 1000
_MOST_PERMITS = 10_000
"""Beyond so many, those of lost deliveries are looked for and dropped."""


class Stop(StrEnum):
    """What to do with a message that failed, while its topic is stopped: it counts no attempt."""

    NO = "no"
    """It is not stopped, or the message is to blame itself: its policy decides."""
    HOLD = "hold"
    """Keep it in hand until the topic goes on."""
    ASIDE = "aside"
    """Set it aside for as long as the breaker rests, so that another message is the next trial."""


class Carrying(Protocol):
    """Anything with a delivery."""

    @property
    def delivery(self) -> Delivery: ...


class Gate:
    """What may stop one topic for this process: its circuit, its rate, and an operator's pause."""

    def __init__(self, topic: str, breaker: Breaker | None, limit: RateLimit | None, monotonic: Callable[[], float]):
        self.topic = topic
        self.circuit = None if breaker is None else Circuit(breaker, monotonic, name=f"the breaker of {topic!r}")
        self.rate = None if limit is None else Rate(limit, monotonic)
        self.paused: str | None = None
        """Why an operator paused it."""
        self.is_shut = False
        """Whether its messages are held, and none are fetched."""
        self._permits: dict[Delivery, Permit] = {}
        self._successes = 0
        self._failed_at: dict[str, int] = {}
        """How many attempts had succeeded when a message failed last; the oldest failures are forgotten first."""

    @property
    def is_special(self) -> bool:
        """Whether each of its messages must be asked for: none, while a breaker is closed and nothing else acts."""
        circuit = self.circuit
        return self.paused is not None or self.rate is not None or bool(circuit and circuit.state != "closed")

    def admit(self, delivery: Delivery) -> bool:
        """Whether this one may be handled now; its permit is kept until its outcome is told. Twice takes one."""
        if self.paused is not None:
            return False
        if self.has_let_in(delivery):
            return True
        self.let_go(delivery)
        circuit, rate = self.circuit, self.rate
        permit = circuit.admit() if circuit is not None else _FREE
        if permit is None:
            return False
        if rate is not None and not rate.admit():
            if circuit is not None:
                circuit.released(permit)
            return False
        self._permits[delivery] = permit
        return True

    def has_let_in(self, delivery: Delivery) -> bool:
        """Whether it was let in, and its outcome is not told; what the circuit said before it changed is void."""
        permit = self._permits.get(delivery)
        return permit is not None and (self.circuit is None or permit.generation == self.circuit.generation)

    def let_go(self, delivery: Delivery) -> None:
        """It is not tried after all, or its outcome says nothing; another may have its permit. Twice is safe."""
        permit = self._permits.pop(delivery, None)
        if permit is not None and self.circuit is not None:
            self.circuit.released(permit)

    @property
    def generation(self) -> int:
        """The circuit's present one; to be remembered by whoever begins an attempt."""
        return 0 if self.circuit is None else self.circuit.generation

    def began(self, delivery: Delivery, generation: int) -> None:
        """An attempt began in this generation, if it was not admitted by name."""
        self._permits.setdefault(delivery, Permit(generation, 0))
        if len(self._permits) > _MOST_PERMITS:
            self.forget()

    def began_together(self, works: Iterable[Carrying]) -> None:
        """An attempt at all of these began now."""
        for work in works:
            self.began(work.delivery, self.generation)

    def note(self, generation: int, successes: int, slow: int) -> None:
        """So many attempts that began in this generation succeeded, none of which was admitted by name."""
        self._successes += successes
        if self.circuit is not None:
            self.circuit.note(generation, successes, slow)

    @property
    def slow(self) -> float:
        """The seconds from which on an attempt is slow; infinity where none is."""
        slow = None if self.circuit is None else self.circuit.breaker.slow
        return inf if slow is None else slow.total_seconds()

    def succeeded(self, delivery: Delivery, took: float) -> None:
        """An attempt succeeded, after `took` seconds."""
        permit = self._permits.pop(delivery, None)
        self._successes += 1
        if self.circuit is not None and permit is not None:
            self.circuit.succeeded(permit, timedelta(seconds=took))

    def failed(self, delivery: Delivery, error: BaseException, *, passing: bool) -> Stop:
        """An attempt failed; it counts against the circuit when the fault may pass: not the message's, but others'.

        Says what to do with the message while that is open: a trial that failed makes room for another message, which
        may succeed; one that failed before and after others succeeded is to blame itself, and nothing is held back.
        """
        permit = self._permits.pop(delivery, None)
        if self.circuit is None or permit is None:
            return Stop.HOLD if self.paused is not None else Stop.NO
        if not (passing and self.circuit.breaker.is_failure(error)):
            self.circuit.released(permit)
            return self._stop(is_trial=False, is_to_blame=False)
        is_to_blame = self._blame(delivery.message.identity)
        self.circuit.failed(permit, timedelta())
        return self._stop(is_trial=permit.number > 0, is_to_blame=is_to_blame)

    def _blame(self, identity: str) -> bool:
        """Note that this message failed; whether others succeeded since it failed before."""
        before = self._failed_at.pop(identity, None)
        self._failed_at[identity] = self._successes
        if len(self._failed_at) > _MOST_BLAMED:
            del self._failed_at[next(iter(self._failed_at))]
        return before is not None and before < self._successes

    def _stop(self, *, is_trial: bool, is_to_blame: bool) -> Stop:
        if self.paused is not None:
            return Stop.HOLD
        is_open = self.circuit is not None and self.circuit.state is CircuitState.OPEN
        if not is_open or is_to_blame:
            return Stop.NO
        return Stop.ASIDE if is_trial else Stop.HOLD

    def forget(self) -> None:
        """Drop the permits of deliveries that are out of our hands."""
        for delivery in [each for each in self._permits if each.state != WAITING]:
            self.let_go(delivery)

    def wait(self) -> timedelta | None:
        """How long until it may let something through; None while an operator holds it."""
        if self.paused is not None:
            return None
        rest = self.circuit.wait() if self.circuit is not None else None
        rate = self.rate.wait() if self.rate is not None else timedelta()
        return max(rest or timedelta(), rate)

    @property
    def why(self) -> str | None:
        """Why it stops its topic, where it does."""
        if self.paused is not None:
            return self.paused
        return (
            self.circuit.reason if self.circuit is not None and self.circuit.state is not CircuitState.CLOSED else None
        )

    @property
    def state(self) -> str:
        """In a word, for people."""
        if self.paused is not None:
            return "paused"
        if self.circuit is not None and self.circuit.state is not CircuitState.CLOSED:
            return self.circuit.state.value
        return "waits" if self.is_shut else "flows"
