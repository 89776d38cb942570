"""What handlers return leaves in one transaction with the watermark, and what fails does not come twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta

import pytest

from antiphon import Key, RejectError, Retry, Service, Struct, event
from antiphon.brokers.memory import MemoryBroker
from antiphon.brokers.ports import Broker, SeekTo
from antiphon.events.clock import SystemClock
from antiphon.events.message import Message, Outgoing
from antiphon.runtime.compose import Composer
from antiphon.runtime.settings import ServiceSettings, Settings
from antiphon.storage.dead_letters import list_parked
from antiphon.testing.sabotage import Saboteur

SETTINGS = Settings(common=ServiceSettings(broker="memory:///", drain_timeout=timedelta(seconds=1)))


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


@event(topic="payments")
class PaymentTaken(Struct, frozen=True):
    order_id: Key[str]


class Spying(Saboteur):
    """Notes what is published apart from any watermark."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        self.apart: list[Outgoing] = []

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        self.apart += outgoing
        await super().publish(outgoing)


def refuses(outgoing: Outgoing) -> str | None:
    return "nobody takes this" if outgoing.message.key == "odd" and outgoing.topic == "payments" else None


@pytest.fixture
async def broker() -> AsyncIterator[MemoryBroker]:
    broker = MemoryBroker(refuse=refuses)
    await broker.open()
    yield broker
    await broker.close()
    await broker.database.close()


def paying(handled: list[str], fails: Callable[[str], bool] = lambda order: False) -> Service:
    service = Service("payments", policy=Retry(immediate=0, delayed=0))

    @service.on(OrderPlaced, guarantee="effectively_once")
    async def take(order: OrderPlaced) -> PaymentTaken:
        handled.append(order.order_id)
        if fails(order.order_id):
            raise RejectError("it is forged")
        return PaymentTaken(order.order_id)

    return service


async def place(broker: Broker, *orders: str) -> list[Message]:
    composer = Composer("shop", SystemClock())
    outgoing = [composer.first(OrderPlaced(order)) for order in orders]
    await broker.publish(outgoing)
    return [one.message for one in outgoing]


async def settled(service: Service) -> None:
    async with asyncio.timeout(10):
        while not await service.caught_up():  # noqa: ASYNC110  # nothing tells when all is handled
            await asyncio.sleep(0.002)


async def published(broker: MemoryBroker) -> list[str | None]:
    return sorted(str(each.message.key) for each in await broker.browse("payments", SeekTo.START, 100))


async def test_nothing_is_published_apart_from_the_watermark(broker: MemoryBroker) -> None:
    spying, service = Spying(broker), paying([])
    await service.start(spying, SETTINGS, store=broker.database)
    await place(broker, "a", "b", "c")
    await settled(service)
    await service.stop()
    assert await published(broker) == ["a", "b", "c"]
    assert not spying.apart


async def test_what_the_broker_never_takes_is_parked_and_the_others_leave(broker: MemoryBroker) -> None:
    service = paying([])
    await service.start(broker, SETTINGS)
    await place(broker, "a", "odd", "b")
    await settled(service)
    await service.stop()
    assert await published(broker) == ["a", "b"]
    (letter,) = await list_parked(broker.database)
    assert (letter.message.key, letter.reason) == ("odd", "PublishError")
    assert sum(lag.messages for lag in await broker.lag("payments")) == 0


async def test_what_was_set_aside_is_known_when_it_comes_again(broker: MemoryBroker) -> None:
    """As when the process dies after it set a message aside and before the watermark has passed that."""
    handled = list[str]()
    service = paying(handled, lambda order: order == "forged")
    await service.start(broker, SETTINGS)
    (message, _) = await place(broker, "forged", "a")
    await settled(service)
    await broker.publish([Outgoing("orders", message)])
    await settled(service)
    await service.stop()
    assert sorted(handled) == ["a", "forged"]
    assert len(await list_parked(broker.database)) == 1


async def test_a_handler_that_demands_nothing_is_as_it_was(broker: MemoryBroker) -> None:
    spying, service = Spying(broker), Service("payments")

    @service.on(OrderPlaced)
    async def take(order: OrderPlaced) -> PaymentTaken:
        return PaymentTaken(order.order_id)

    await service.start(spying, SETTINGS, store=broker.database)
    await place(broker, "a")
    await settled(service)
    await service.stop()
    assert [one.message.key for one in spying.apart] == ["a"]
