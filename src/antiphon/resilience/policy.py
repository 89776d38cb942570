"""What becomes of a message whose handler failed: again at once, later, parked, or left alone."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from math import inf
from sys import maxsize
from typing import NamedTuple, cast

from msgspec import Struct

from antiphon.errors import DeclarationError, RejectError, SchemaError, UsageError
from antiphon.events.amounts import show_duration
from antiphon.resilience.checks import check_count, check_duration, check_errors, check_number

_NOTHING = timedelta()
_LONGEST_TOLD = timedelta(days=36_500).total_seconds()
_HOPELESS = frozenset({RejectError, SchemaError, UsageError})
"""Errors of ours that another attempt cannot mend: permanent unless a policy lists them."""


class Decision(StrEnum):
    """The next step after a failed attempt."""

    AGAIN = "again"
    LATER = "later"
    PARK = "park"
    IGNORE = "ignore"


class Step(NamedTuple):
    """A decision, with the delay of one that is LATER.

    `reason` says why a message is parked when it is not only for its error: `"deadline"` (the message's own has
    passed, or would before the next attempt) or `"time"` (the policy's `within` has).
    """

    decision: Decision
    delay: timedelta = _NOTHING
    reason: str | None = None


class Fault(StrEnum):
    """What an error is to a policy: it may pass, it cannot pass, or it does not matter."""

    TRANSIENT = "transient"
    PERMANENT = "permanent"
    IGNORABLE = "ignorable"


class Retry(Struct, frozen=True, kw_only=True):
    """Try again at once, then after growing delays, then park. Pure: it decides, others act.

    `immediate`: retries at once, and then `delayed` retries, one attempt each. The first of these waits `first_delay`,
    each next one `factor` times longer, none longer than `longest_delay`; with `jitter` the wait is drawn evenly from
    nothing to that. `within`: no attempt begins later than this after the first one failed.

    `transient`, `permanent`, `ignorable`: classes of errors that are tried again, parked at once, or taken as success.
    The nearest listed class that an error inherits from counts. Unlisted errors are transient, except RejectError,
    SchemaError and UsageError with what inherits from them, which are permanent.

    `crashes`: a message that was the only one in work whenever the process died, so many times, is parked.

    Raises DeclarationError for a policy that contradicts itself.
    """

    immediate: int = 3
    delayed: int = 5
    first_delay: timedelta = timedelta(seconds=1)
    factor: float = 4.0
    longest_delay: timedelta = timedelta(minutes=5)
    jitter: bool = True
    within: timedelta | None = None
    transient: tuple[type[BaseException], ...] = ()
    permanent: tuple[type[BaseException], ...] = ()
    ignorable: tuple[type[BaseException], ...] = ()
    crashes: int = 3

    def __post_init__(self) -> None:
        check_count("Retry", "immediate", self.immediate, least=0)
        check_count("Retry", "delayed", self.delayed, least=0)
        check_count("Retry", "crashes", self.crashes, least=1)
        self._check_times()
        check_errors("Retry", {"transient": self.transient, "permanent": self.permanent, "ignorable": self.ignorable})

    def _check_times(self) -> None:
        check_duration("Retry", "first_delay", self.first_delay)
        check_duration("Retry", "longest_delay", self.longest_delay)
        if check_number("Retry", "factor", self.factor) < 1:
            raise DeclarationError(f"Retry(factor={self.factor}): delays cannot shrink; the least is factor=1")
        first = f"Retry(first_delay={show_duration(self.first_delay)}"
        if self.longest_delay < self.first_delay:
            raise DeclarationError(
                f"{first}, longest_delay={show_duration(self.longest_delay)}): the longest delay is below the first "
                "one; lengthen longest_delay or shorten first_delay"
            )
        if self.within is not None:
            check_duration("Retry", "within", self.within)
            if self.delayed and self.within < self.first_delay:
                raise DeclarationError(
                    f"{first}, within={show_duration(self.within)}): the first delayed retry would come too late; "
                    "lengthen within, shorten first_delay, or say delayed=0"
                )

    def classify(self, error: BaseException) -> Fault:
        """What `error` is to this policy. An unlisted exception group is as bad as the worst error in it."""
        for each in type(error).__mro__:
            if each in self.transient:
                return Fault.TRANSIENT
            if each in self.permanent:
                return Fault.PERMANENT
            if each in self.ignorable:
                return Fault.IGNORABLE
            if each in _HOPELESS:
                return Fault.PERMANENT
            if each is BaseExceptionGroup:
                return self._worst_of(cast("BaseExceptionGroup[BaseException]", error))
        return Fault.TRANSIENT

    def _worst_of(self, group: BaseExceptionGroup[BaseException]) -> Fault:
        found = {self.classify(each) for each in group.exceptions}
        return next(fault for fault in (Fault.PERMANENT, Fault.TRANSIENT, Fault.IGNORABLE) if fault in found)

    def next_step(
        self,
        attempt: int,
        error: BaseException,
        *,
        age: timedelta = _NOTHING,
        left: timedelta | None = None,
        chance: float = 1.0,
    ) -> Step:
        """What to do after `attempt` (from 1) failed with `error`.

        `age` is the time since the first attempt failed, `left` the time until the message's deadline, and `chance`
        the caller's random draw from 0 to 1, which jitter multiplies the delay with.
        """
        fault = self.classify(error)
        if fault is Fault.IGNORABLE:
            return Step(Decision.IGNORE)
        if fault is Fault.PERMANENT or attempt > self.immediate + self.delayed:
            return Step(Decision.PARK)
        if attempt <= self.immediate:
            return self._unless_late(Step(Decision.AGAIN), age, left)
        delay = self.backoff(attempt - self.immediate)
        return self._unless_late(Step(Decision.LATER, delay * chance if self.jitter else delay), age, left)

    def _unless_late(self, step: Step, age: timedelta, left: timedelta | None) -> Step:
        """`step`, or park when the attempt that it leads to would begin too late."""
        if left is not None and step.delay >= left:
            return Step(Decision.PARK, reason="deadline")
        if self.within is not None and age + step.delay > self.within:
            return Step(Decision.PARK, reason="time")
        return step

    def backoff(self, number: int) -> timedelta:
        """How long the `number`-th delayed retry (from 1) waits, without jitter."""
        try:
            growth = float(self.factor) ** min(number - 1, maxsize)
        except OverflowError:
            growth = inf
        is_grown = growth >= self.longest_delay / self.first_delay
        return self.longest_delay if is_grown else self.first_delay * growth

    def describe(self) -> str:
        """One line for people."""
        if not self.immediate and not self.delayed:
            return "park at the first failure" + self._told_lists()
        late = f", none later than {show_duration(self.within)} after the first failure" if self.within else ""
        return f"{self._told_retries()}{late}, then park{self._told_hopeless()}{self._told_lists()}"

    def _told_retries(self) -> str:
        immediate, delayed = _told(self.immediate, "immediate"), _told(self.delayed, "delayed")
        if not self.delayed:
            return immediate
        waits = f"{'over' if self.delayed > 1 else 'after'} {'up to ' if self.jitter else ''}{self._told_waits()}"
        return f"{immediate}, {self.delayed} delayed {waits}" if self.immediate else f"{delayed} {waits}"

    def _told_waits(self) -> str:
        """How long all delays take together, without jitter."""
        total, last = 0.0, self.backoff(self.delayed)
        for number in range(1, self.delayed + 1):
            delay = self.backoff(number)
            if delay == last:
                total += (self.delayed - number + 1) * last.total_seconds()
                break
            total += delay.total_seconds()
        return show_duration(timedelta(seconds=min(total, _LONGEST_TOLD)))

    def _told_hopeless(self) -> str:
        words = {"rejected": RejectError, "undecodable": SchemaError}
        told = [word for word, error in words.items() if error not in (*self.transient, *self.ignorable)]
        return f"; {' and '.join(told)} messages park at once" if told else ""

    def _told_lists(self) -> str:
        lists = {"transient": self.transient, "permanent": self.permanent, "ignorable": self.ignorable}
        told = (f"; {name}: {', '.join(each.__name__ for each in listed)}" for name, listed in lists.items() if listed)
        return "".join(told)


def _told(count: int, kind: str) -> str:
    return f"{count} {kind} {'retry' if count == 1 else 'retries'}"


AT_ONCE = Retry(immediate=0, delayed=0)
"""Park at the first failure."""
