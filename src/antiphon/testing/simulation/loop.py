"""How do hours pass in milliseconds, and in the same order each time? In a loop whose time leaps while all wait."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

START = datetime(2026, 1, 1, tzinfo=UTC)
"""When every simulation begins."""
_MICROSECONDS = 1_000_000


_MOST_TURNS = 10_000
"""Turns of the loop in one moment, more than any chain of awaits takes."""


class StuckError(RuntimeError):
    """Time passes no more: everybody waits for something that nobody will do, or somebody is busy forever."""


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still while anything can run, and then leaps to the next moment.

    What is meant for a thread runs in the loop itself, so that nothing depends on how fast a thread is.
    """

    def __init__(self) -> None:
        self._microseconds = 0
        super().__init__(_Leaping(self._leap))

    def time(self) -> float:
        return self._microseconds / _MICROSECONDS

    def _leap(self, seconds: float) -> None:
        self._microseconds += ceil(seconds * _MICROSECONDS)

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run it in the loop, soon."""
        future: asyncio.Future[T] = self.create_future()
        self.call_soon(_complete, future, lambda: func(*args))
        return future


class _Leaping(selectors.DefaultSelector):
    """Waits for nothing: what it would wait for is given to `leap`."""

    def __init__(self, leap: Callable[[float], None]) -> None:
        super().__init__()
        self._leap_by = leap
        self._turns = 0
        """Since time passed last."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        self._turns += 1
        if timeout is None and not ready:
            raise StuckError("every task waits for something that nobody will do")
        if timeout:
            self._leap_by(timeout)
            self._turns = 0
        elif self._turns > _MOST_TURNS:
            self._turns = 0
            raise StuckError("somebody is busy forever, so that time does not pass")
        return ready


def _complete(future: asyncio.Future[T], work: Callable[[], T]) -> None:
    if future.cancelled():
        return
    try:
        result = work()
    except Exception as error:  # noqa: BLE001 - it is raised where the future is awaited
        future.set_exception(error)
    else:
        future.set_result(result)


class SimulatedClock:
    """The clock of a simulated loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now(self) -> datetime:
        return START + timedelta(microseconds=round(self._loop.time() * _MICROSECONDS))

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, duration: timedelta) -> None:
        await asyncio.sleep(duration.total_seconds())


def at_once(coroutine: Coroutine[object, object, T]) -> T:
    """The result of a coroutine that never waits, as those of memory do not."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise AssertionError(f"{coroutine} waits for something")
