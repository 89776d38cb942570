"""Simulated time passes only while everybody waits, and who waits for nothing that can happen is found out."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from datetime import timedelta
from typing import TypeVar

import pytest

from antiphon.testing.simulation.loop import START, SimulatedClock, SimulatedLoop, StuckError, at_once

T = TypeVar("T")


@pytest.fixture
def loop() -> Iterator[SimulatedLoop]:
    loop = SimulatedLoop()
    yield loop
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_time_leaps_to_whoever_wakes_next(loop: SimulatedLoop) -> None:
    clock, woken = SimulatedClock(loop), list[tuple[str, timedelta]]()

    async def wait(name: str, duration: timedelta) -> None:
        await clock.sleep(duration)
        woken.append((name, clock.now() - START))

    async def all_of_them() -> None:
        await asyncio.gather(wait("late", timedelta(days=3)), wait("soon", timedelta(seconds=1)))

    loop.run_until_complete(all_of_them())
    assert woken == [("soon", timedelta(seconds=1)), ("late", timedelta(days=3))]
    assert clock.monotonic() == timedelta(days=3).total_seconds()


def test_time_stands_still_while_anybody_can_run(loop: SimulatedLoop) -> None:
    async def work() -> float:
        for _ in range(100):
            await asyncio.sleep(0)
        return loop.time()

    assert loop.run_until_complete(work()) == 0


def test_timeouts_count_simulated_time(loop: SimulatedLoop) -> None:
    async def wait() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600):
                await asyncio.Event().wait()
        return loop.time()

    assert loop.run_until_complete(wait()) == 3600


def test_what_is_meant_for_a_thread_runs_in_the_loop(loop: SimulatedLoop) -> None:
    def fail() -> None:
        raise ValueError("as in a thread")

    async def ask() -> int:
        with pytest.raises(ValueError, match="as in a thread"):
            await asyncio.to_thread(fail)
        return await asyncio.to_thread(threading.get_ident)

    assert loop.run_until_complete(ask()) == threading.get_ident()


def test_waiting_for_what_nobody_will_do_is_found_out(loop: SimulatedLoop) -> None:
    with pytest.raises(StuckError, match="nobody will do"):
        loop.run_until_complete(asyncio.Event().wait())


def test_being_busy_forever_is_found_out(loop: SimulatedLoop) -> None:
    async def spin() -> None:
        while not loop.time():
            await asyncio.gather(asyncio.sleep(0))

    with pytest.raises(StuckError, match="busy forever"):
        loop.run_until_complete(spin())


def test_what_never_waits_is_run_at_once_and_what_waits_is_refused(loop: SimulatedLoop) -> None:
    async def ready() -> int:
        return 7

    assert at_once(ready()) == 7
    waiting: Coroutine[object, object, None] = asyncio.sleep(0)
    with pytest.raises(AssertionError, match="waits for something"):
        at_once(waiting)
