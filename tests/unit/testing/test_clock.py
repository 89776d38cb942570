"""VirtualClock: time passes when the test says so, and not before."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from antiphon.errors import UsageError
from antiphon.testing.clock import VirtualClock

SECOND = timedelta(seconds=1)


async def test_time_stands_still_until_it_is_advanced() -> None:
    clock = VirtualClock(datetime(2030, 1, 1, tzinfo=UTC))
    await asyncio.sleep(0)
    assert clock.now() == datetime(2030, 1, 1, tzinfo=UTC)
    await clock.advance(SECOND)
    assert clock.now() == datetime(2030, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert clock.monotonic() == 1.0


async def test_sleepers_wake_in_order_each_at_its_own_moment() -> None:
    clock = VirtualClock()
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: int) -> None:
        await clock.sleep(seconds * SECOND)
        woken.append((name, clock.monotonic()))

    tasks = [asyncio.create_task(sleeper(name, seconds)) for name, seconds in (("b", 2), ("a", 1), ("late", 9))]
    await clock.advance(3 * SECOND)
    assert woken == [("a", 1.0), ("b", 2.0)]
    assert clock.monotonic() == 3.0
    await clock.advance(6 * SECOND)
    await asyncio.gather(*tasks)
    assert woken[-1] == ("late", 9.0)


async def test_a_sleeper_that_sleeps_again_wakes_within_one_advance() -> None:
    clock = VirtualClock()
    ticks: list[float] = []

    async def ticker() -> None:
        for _ in range(3):
            await clock.sleep(SECOND)
            ticks.append(clock.monotonic())

    task = asyncio.create_task(ticker())
    await clock.advance(3 * SECOND)
    await task
    assert ticks == [1.0, 2.0, 3.0]


async def test_a_canceled_sleeper_is_forgotten() -> None:
    clock = VirtualClock()
    task = asyncio.create_task(clock.sleep(SECOND))
    await clock.rest()
    assert clock.sleepers == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert clock.sleepers == 0
    await clock.advance(2 * SECOND)


async def test_time_does_not_go_back() -> None:
    with pytest.raises(UsageError, match="cannot go back"):
        await VirtualClock().advance(-SECOND)


async def test_a_sleep_of_nothing_returns_at_once() -> None:
    await VirtualClock().sleep(timedelta())
