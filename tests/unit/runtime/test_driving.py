"""Handlers in shared transactions: driven as `await` would, and found out when they wait."""

from __future__ import annotations

import asyncio

import pytest

from antiphon.runtime.driving import drive


@pytest.fixture
def waits() -> list[str]:
    return []


async def test_a_handler_that_never_waits_is_not_told_of(waits):
    async def inner() -> int:
        return 4

    async def handler() -> int:
        return await inner() + 1

    assert await drive(handler(), lambda: waits.append("waited")) == 5
    assert waits == []


async def test_a_handler_that_waits_is_told_of_once_and_finishes(waits):
    async def handler() -> str:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return "done"

    assert await drive(handler(), lambda: waits.append("waited")) == "done"
    assert waits == ["waited"]


async def test_the_result_of_what_it_waits_for_reaches_it(waits):
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_result, 7)

    async def handler() -> int:
        return await future

    assert await drive(handler(), lambda: waits.append("waited")) == 7


@pytest.mark.parametrize("turns", [0, 1])
async def test_what_it_raises_is_raised(turns, waits):
    async def handler() -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await drive(handler(), lambda: waits.append("waited"))


async def test_what_it_waits_for_may_raise_in_it(waits):
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_exception, KeyError("no"))

    async def handler() -> str:
        try:
            await future
        except KeyError:
            return "caught"
        return "not raised"

    assert await drive(handler(), lambda: waits.append("waited")) == "caught"


async def test_a_cancellation_reaches_it_and_its_ends_are_tied_up(waits):
    tidied = []

    async def handler() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            tidied.append("tidied")

    task = asyncio.create_task(drive(handler(), lambda: waits.append("waited")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert tidied == ["tidied"]


async def test_a_handler_may_outlive_a_cancellation_as_any_task_may(waits):
    async def handler() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "went on"
        return "never canceled"

    task = asyncio.create_task(drive(handler(), lambda: waits.append("waited")))
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "went on"


async def test_timeouts_work_inside_it(waits):
    async def handler() -> str:
        try:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        except TimeoutError:
            return "timed out"
        return "never"

    assert await drive(handler(), lambda: waits.append("waited")) == "timed out"
