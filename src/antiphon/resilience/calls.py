"""How a program's own calls are retried by a policy, and how they wait for their turn under a rate limit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from random import random
from typing import TypeVar

from antiphon.errors import UsageError
from antiphon.events.clock import Clock, SystemClock
from antiphon.resilience.policy import Decision, Retry, Step
from antiphon.resilience.rate_limit import Rate, RateLimit

T = TypeVar("T")
_SYSTEM = SystemClock()


async def retrying(
    policy: Retry,
    function: Callable[[], Awaitable[T]],
    *,
    clock: Clock = _SYSTEM,
    deadline: datetime | None = None,
    chance: Callable[[], float] = random,
) -> T:
    """What `function` returns, called again as `policy` says while it fails.

    When the policy gives up, the last error is raised as it was, with a note of how many attempts there were. An
    ignorable error is raised at once, since there is nothing to return. No attempt but the first is made past
    `deadline`, and none is cut off by it. Canceling ends it at once. Many at a time may share a policy: it holds no
    state.
    """
    if deadline is not None and deadline.tzinfo is None:
        raise UsageError(f"retrying(deadline={deadline}): it has no time zone; give one, as in datetime.now(UTC)")
    calls = _Calls(policy, clock, deadline, chance)
    while True:
        try:
            return await function()
        except Exception as error:
            step = calls.failed(error)
            if step.decision not in (Decision.AGAIN, Decision.LATER):
                error.add_note(calls.told(step))
                raise
        await clock.sleep(step.delay)


class _Calls:
    """The attempts of one call so far."""

    def __init__(self, policy: Retry, clock: Clock, deadline: datetime | None, chance: Callable[[], float]) -> None:
        self._policy, self._clock, self._deadline, self._chance = policy, clock, deadline, chance
        self._attempts = 0
        self._first_failed: float | None = None

    def failed(self, error: Exception) -> Step:
        now = self._clock.monotonic()
        self._attempts += 1
        if self._first_failed is None:
            self._first_failed = now
        return self._policy.next_step(
            self._attempts,
            error,
            age=timedelta(seconds=now - self._first_failed),
            left=self._deadline - self._clock.now() if self._deadline is not None else None,
            chance=self._chance(),
        )

    def told(self, step: Step) -> str:
        attempts = "the only attempt" if self._attempts == 1 else f"attempt {self._attempts}, the last"
        why = {"deadline": ": the deadline does not allow another", "time": ": the policy's time is used up"}
        return f"{attempts}{why.get(step.reason or '', '')}"


class Turns:
    """Own calls under a rate limit: each waits for its turn, first come first served. For one event loop."""

    def __init__(self, limit: RateLimit, clock: Clock = _SYSTEM) -> None:
        self._rate, self._clock = Rate(limit, clock.monotonic), clock
        self._lock = asyncio.Lock()

    async def call(self, function: Callable[[], Awaitable[T]]) -> T:
        """What `function` returns, called when its turn comes. Whoever is canceled while waiting takes no turn."""
        async with self._lock:
            while not self._rate.admit():
                await self._clock.sleep(self._rate.wait())
        return await function()
