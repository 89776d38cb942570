"""A bell wakes whoever waits, once for each ring."""

import asyncio

from antiphon.brokers.memory.bell import Bell
from antiphon.testing.clock import VirtualClock


async def test_a_ring_is_heard_once() -> None:
    clock = VirtualClock()
    bell = Bell(clock)
    waiting = asyncio.create_task(bell.wait(60))
    await clock.rest()
    bell.ring()
    await waiting
    bell.clear()
    again = asyncio.create_task(bell.wait(60))
    await clock.rest()
    assert not again.done()
    again.cancel()
