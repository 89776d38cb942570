"""What arrives by itself waits for whoever takes it, and whoever takes it waits for that."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from antiphon.brokers.arrivals import Arrivals
from antiphon.testing.conformance.suite import a_message

LONG = timedelta(seconds=30)


async def test_what_arrived_is_taken_at_once_and_in_order():
    arrivals, messages = Arrivals(), [a_message() for _ in range(3)]
    for message in messages:
        arrivals.put(message)
    assert await arrivals.take(LONG) == messages
    assert await arrivals.take(timedelta()) == ()


async def test_whoever_waits_is_roused_by_the_first():
    arrivals, message = Arrivals(), a_message()
    taking = asyncio.create_task(arrivals.take(LONG))
    await asyncio.sleep(0)
    arrivals.put(message)
    assert await taking == [message]


async def test_a_canceled_wait_loses_nothing():
    arrivals, message = Arrivals(), a_message()
    taking = asyncio.create_task(arrivals.take(LONG))
    await asyncio.sleep(0)
    arrivals.put(message)
    taking.cancel()
    await asyncio.wait({taking})
    assert await arrivals.take(LONG) == [message]


async def test_a_ring_ends_the_wait_with_nothing():
    arrivals = Arrivals()
    taking = asyncio.create_task(arrivals.take(LONG))
    await asyncio.sleep(0)
    arrivals.ring()
    assert await taking == []
