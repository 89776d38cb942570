"""When calls to something that fails are stopped, and how it is found out that they may go on."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from enum import StrEnum
from math import ceil
from typing import NamedTuple, TypeVar

from msgspec import Struct

from antiphon.errors import CircuitOpenError, DeclarationError, RejectError, SchemaError, UsageError
from antiphon.events.amounts import show_duration
from antiphon.resilience.checks import check_count, check_duration, check_errors, check_share
from antiphon.resilience.window import Window

T = TypeVar("T")
_INNOCENT = (RejectError, SchemaError, UsageError)
"""Errors of ours that are about a message or the code, and say nothing of what was called."""


class Breaker(Struct, frozen=True, kw_only=True):
    """When a circuit opens, how long it rests, and what closes it. Pure data; a Circuit is its running state.

    It opens when, of at least `least` calls that ended within the sliding `window`, `failure_rate` failed, or
    `slow_rate` took `slow` or longer. After `rest` it lets `trials` calls through: the first that fails opens it again,
    and when all succeeded it closes, unless so many of them were slow that it would have to open. A trial that has not
    reported within `permit_expiry` is given again, so that must be longer than any call takes.

    Errors of `ignores` are no failures: what was called answered. Neither are RejectError, SchemaError and UsageError.

    Raises DeclarationError for a breaker that contradicts itself.
    """

    failure_rate: float = 0.5
    slow: timedelta | None = None
    slow_rate: float = 1.0
    window: timedelta = timedelta(seconds=60)
    least: int = 20
    rest: timedelta = timedelta(seconds=30)
    trials: int = 3
    permit_expiry: timedelta = timedelta(seconds=60)
    ignores: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        check_share("Breaker", "failure_rate", self.failure_rate)
        check_share("Breaker", "slow_rate", self.slow_rate)
        for name, value in (("window", self.window), ("rest", self.rest), ("permit_expiry", self.permit_expiry)):
            check_duration("Breaker", name, value)
        check_count("Breaker", "least", self.least, least=1)
        check_count("Breaker", "trials", self.trials, least=1)
        check_errors("Breaker", {"ignores": self.ignores})
        self._check_slow()

    def _check_slow(self) -> None:
        if self.slow is None:
            if self.slow_rate != 1.0:
                raise DeclarationError(
                    f"Breaker(slow_rate={self.slow_rate}): it does not say what is slow; "
                    "add slow=timedelta(seconds=2), or leave slow_rate out"
                )
            return
        check_duration("Breaker", "slow", self.slow)
        if self.permit_expiry <= self.slow:
            raise DeclarationError(
                f"Breaker(slow={show_duration(self.slow)}, permit_expiry={show_duration(self.permit_expiry)}): a slow "
                "trial would expire before it ends; lengthen permit_expiry or shorten slow"
            )

    def is_failure(self, error: BaseException) -> bool:
        """Whether `error` speaks against what was called. A cancellation does not."""
        return isinstance(error, Exception) and not isinstance(error, (*self.ignores, *_INNOCENT))

    def describe(self) -> str:
        """One line for people."""
        slow = ""
        if self.slow is not None:
            slow = f", or {_percent(self.slow_rate)} take {show_duration(self.slow)} or longer"
        trials = "a trial succeeds" if self.trials == 1 else f"{self.trials} trials succeed"
        ignores = f"; ignores: {', '.join(each.__name__ for each in self.ignores)}" if self.ignores else ""
        return (
            f"opens when {_percent(self.failure_rate)} of at least {self.least} fail within "
            f"{show_duration(self.window)}{slow}; rests {show_duration(self.rest)}, closes when {trials}{ignores}"
        )


def _percent(share: float) -> str:
    return f"{share * 100:g}%"


class Permit(NamedTuple):
    """Leave to make one call. `number` tells the trials of a half-open circuit apart; in a closed one it is 0."""

    generation: int
    number: int


class CircuitState(StrEnum):
    """Closed lets everything through, open nothing, half-open a few trials."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Circuit:
    """A breaker at work: asks for nothing but the time, and never waits. For one thread.

    `admit` gives a permit or none; report each permit's outcome once, by `succeeded`, `failed` or `released`. Every
    change of state begins a new `generation`, and outcomes of permits from an earlier one change nothing. `opened`
    counts how often it opened, `reason` says why it did last.
    """

    def __init__(
        self, breaker: Breaker, monotonic: Callable[[], float] = time.monotonic, *, name: str = "this circuit"
    ) -> None:
        self.breaker, self.name = breaker, name
        self.generation, self.opened = 0, 0
        self.reason: str | None = None
        self._monotonic = monotonic
        self._window = Window(breaker.window.total_seconds())
        self._rested_at = 0.0
        self._last_number = 0
        self._expiries: dict[int, float] = {}
        self._begin(CircuitState.CLOSED)

    @property
    def state(self) -> CircuitState:
        """How it is now: an open one that has rested is half-open."""
        if self._state is CircuitState.OPEN and self._has_rested():
            self._begin(CircuitState.HALF_OPEN)
        return self._state

    def admit(self) -> Permit | None:
        """A permit for one call, or none for now."""
        if self._state is CircuitState.CLOSED:
            return self._for_all
        return self._admit_trial() if self.state is CircuitState.HALF_OPEN else None

    def succeeded(self, permit: Permit, took: timedelta) -> None:
        """The call that `permit` was for succeeded, and took so long."""
        self._report(permit, took, failures=0)

    def failed(self, permit: Permit, took: timedelta) -> None:
        """The call that `permit` was for failed, and took so long."""
        self._report(permit, took, failures=1)

    def released(self, permit: Permit) -> None:
        """The call that `permit` was for has no outcome; a trial's permit is given again. Twice is safe."""
        if permit.generation == self.generation:
            self._expiries.pop(permit.number, None)

    def note(self, generation: int, successes: int, slow: int = 0) -> None:
        """So many calls of a closed `generation` succeeded, of which so many were slow: cheaper than one by one.

        It is judged once, after the last of them. Trials are not reported like this.
        """
        if generation == self.generation and self._state is CircuitState.CLOSED:
            self._window.add(self._monotonic(), successes, 0, slow)
            self._judge()

    def wait(self) -> timedelta | None:
        """How long until `admit` may give a permit again; nothing when it would now, None when closed."""
        state, now = self.state, self._monotonic()
        if state is CircuitState.CLOSED:
            return None
        if state is CircuitState.OPEN:
            return _up_to(self._rested_at - now)
        self._expire(now)
        return timedelta() if self._has_room() else _up_to(next(iter(self._expiries.values())) - now)

    async def call(self, function: Callable[[], Awaitable[T]]) -> T:
        """What `function` returns. Raises CircuitOpenError without calling it while the circuit is not letting through.

        What it raises is raised again, and counts as a failure unless the breaker ignores it. A call that is canceled
        has no outcome: a timeout counts only when it is inside `function`.
        """
        permit = self.admit()
        if permit is None:
            raise CircuitOpenError(self.name, self.wait() or timedelta())
        began = self._monotonic()
        try:
            result = await function()
        except BaseException as error:
            self._tell(permit, error, self._since(began))
            raise
        self.succeeded(permit, self._since(began))
        return result

    def _since(self, began: float) -> timedelta:
        return timedelta(seconds=self._monotonic() - began)

    def _tell(self, permit: Permit, error: BaseException, took: timedelta) -> None:
        if not isinstance(error, Exception):
            self.released(permit)
        elif self.breaker.is_failure(error):
            self.failed(permit, took)
        else:
            self.succeeded(permit, took)

    def _begin(self, state: CircuitState) -> None:
        self._state = state
        self.generation += 1
        self._for_all = Permit(self.generation, 0)
        self._window.clear()
        self._expiries.clear()
        self._succeeded = self._slow = 0

    def _open(self, reason: str) -> None:
        self._begin(CircuitState.OPEN)
        self._rested_at = self._monotonic() + self.breaker.rest.total_seconds()
        self.opened += 1
        self.reason = reason

    def _has_rested(self) -> bool:
        return self._monotonic() >= self._rested_at

    def _admit_trial(self) -> Permit | None:
        now = self._monotonic()
        self._expire(now)
        if not self._has_room():
            return None
        self._last_number += 1
        self._expiries[self._last_number] = now + self.breaker.permit_expiry.total_seconds()
        return Permit(self.generation, self._last_number)

    def _has_room(self) -> bool:
        return len(self._expiries) + self._succeeded < self.breaker.trials

    def _expire(self, now: float) -> None:
        """Forget trials that did not report in time: the oldest come first."""
        while self._expiries and (oldest := next(iter(self._expiries.items())))[1] <= now:
            del self._expiries[oldest[0]]

    def _report(self, permit: Permit, took: timedelta, failures: int) -> None:
        if permit.generation != self.generation:
            return
        slow = self.breaker.slow is not None and took >= self.breaker.slow
        now = self._monotonic()
        if self._state is CircuitState.CLOSED:
            self._window.add(now, 1, failures, slow)
            self._judge()
        elif self._end_trial(permit, now):
            self._judge_trial(failures, slow)

    def _end_trial(self, permit: Permit, now: float) -> bool:
        """Whether this trial is still awaited: one that expired or was reported is not."""
        self._expire(now)
        return self._expiries.pop(permit.number, None) is not None

    def _judge(self) -> None:
        window, breaker = self._window, self.breaker
        if window.total < breaker.least:
            return
        if window.failures / window.total >= breaker.failure_rate:
            self._open(f"{window.failures} of {window.total} failed")
        elif breaker.slow is not None and window.slow / window.total >= breaker.slow_rate:
            self._open(f"{window.slow} of {window.total} took {show_duration(breaker.slow)} or longer")

    def _judge_trial(self, failures: int, slow: int) -> None:
        if failures:
            self._open("a trial failed")
            return
        self._succeeded += 1
        self._slow += slow
        if self._succeeded < self.breaker.trials:
            return
        if self._slow / self._succeeded >= self.breaker.slow_rate:
            self._open(f"{self._slow} of {self._succeeded} trials were slow")
        else:
            self._begin(CircuitState.CLOSED)


def _up_to(seconds: float) -> timedelta:
    """Rounded up, so that whoever waits so long does not come a moment too early again and again."""
    return timedelta(microseconds=max(0, ceil(seconds * 1_000_000)))
