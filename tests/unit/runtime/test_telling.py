"""A service says what goes wrong, and says it a bounded number of times, wherever it is embedded."""

import asyncio
import logging

from antiphon import Key, Service, Struct, Transaction, event
from antiphon.resilience import AT_ONCE
from antiphon.runtime.settings import ServiceSettings, Settings
from antiphon.storage.dead_letters import list_parked
from antiphon.testing import Harness


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


@event(topic="orders")
class OrderPaid(Struct, frozen=True):
    order_id: Key[str]


@event(topic="orders")
class OrderSent(Struct, frozen=True):
    order_id: Key[str]


@event(topic="done")
class OrderDone(Struct, frozen=True):
    order_id: Key[str]


async def test_a_thousand_failures_of_one_kind_are_told_three_times_and_no_order_is_printed(caplog):
    service = Service("payments", policy=AT_ONCE)

    @service.on(OrderPlaced)
    async def refuse(order: OrderPlaced) -> None:
        raise ValueError("never")

    with caplog.at_level(logging.WARNING):
        async with Harness(service, raising=False) as harness:
            await harness.give(*(OrderPlaced(f"secret-{number}") for number in range(1000)))
            assert len(harness.dead_letters) == 1000
    told = [record for record in caplog.records if "parked" in record.message]
    assert len(told) == 3
    assert {record.name for record in told} == {"antiphon.service.payments"}
    assert "secret" not in caplog.text


async def test_whoever_watches_hears_that_it_runs_drains_and_stops():
    service = Service("payments")
    states: list[str] = []
    service.hooks.state_changed.watch(lambda change: states.append(change.state))
    async with Harness(service):
        assert states == ["running"]
    assert states == ["running", "draining", "stopped"]


async def test_a_dead_letter_says_which_version_of_the_code_gave_it_up():
    service = Service("payments", policy=AT_ONCE)

    @service.on(OrderPlaced)
    async def refuse(order: OrderPlaced) -> None:
        raise ValueError("never")

    await service.start(settings=Settings(common=ServiceSettings(broker="memory:///", code_version="1.4.2")))
    await service.publish(OrderPlaced("o-1"))
    while not await service.caught_up():  # noqa: ASYNC110 - there is nothing to be told by
        await asyncio.sleep(0)
    (letter,) = await list_parked(service.store)
    assert letter.code_version == "1.4.2"
    await service.stop()


async def test_whoever_watches_hears_of_every_message_however_it_is_handled():
    service, told = Service("payments"), list[tuple[str, str | None]]()
    service.hooks.handled.watch(lambda fact: told.append((fact.handler, fact.message.key)))

    @service.on(OrderPlaced)
    async def take(order: OrderPlaced) -> None: ...

    @service.on(OrderPaid)
    def plain(order: OrderPaid) -> None: ...

    @service.on(OrderSent)
    async def write(order: OrderSent, tx: Transaction) -> None: ...

    @service.on_batch(OrderDone)
    async def many(orders: list[OrderDone]) -> None: ...

    async with Harness(service) as harness:
        await harness.give(*(kind(key) for kind in (OrderPlaced, OrderPaid, OrderSent, OrderDone) for key in "ab"))
    assert sorted(told) == sorted((name, key) for name in ("take", "plain", "write", "many") for key in "ab")
