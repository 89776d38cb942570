"""A handler that is settled first never runs twice for a message, whatever it raises and whatever stops its topic."""

from __future__ import annotations

from datetime import timedelta

import pytest

from antiphon import Key, Service, Struct, event
from antiphon.errors import ConnectionLostError
from antiphon.resilience import Breaker
from antiphon.storage.dead_letters import list_parked
from antiphon.testing import Harness


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


@pytest.mark.parametrize("error", [ValueError("down"), ConnectionLostError("away")], ids=["failure", "passing failure"])
async def test_what_fails_is_parked_after_its_only_run(error: Exception) -> None:
    service, runs = Service("alarms"), list[str]()

    @service.on(OrderPlaced, settle="first")
    async def ring(order: OrderPlaced) -> None:
        runs.append(order.order_id)
        raise error

    async with Harness(service, raising=False) as harness:
        await harness.give(OrderPlaced("o-1"))
        await harness.advance(timedelta(minutes=10))
        assert len(harness.dead_letters) == 1
    assert runs == ["o-1"]


async def test_a_breaker_that_opens_lets_nothing_run_twice() -> None:
    service, runs = Service("alarms", breaker=Breaker(least=3, rest=timedelta(seconds=5))), list[str]()

    @service.on(OrderPlaced, settle="first")
    async def ring(order: OrderPlaced) -> None:
        runs.append(order.order_id)
        raise ValueError("down")

    async with Harness(service, raising=False) as harness:
        await harness.give(*[OrderPlaced(f"o-{number}") for number in range(12)])
        for _ in range(30):
            await harness.advance(timedelta(seconds=5))
        assert len(await list_parked(harness.store)) == 12
    assert sorted(runs) == sorted(set(runs))
    assert len(runs) == 12
