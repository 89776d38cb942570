"""Where a broker has a dead-letter queue of its own, what is parked can rest there, with its whole diagnosis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from antiphon import Key, RejectError, Retry, Service, Struct, Transaction, event
from antiphon.brokers.memory import MemoryBroker
from antiphon.deadletters.diagnosis import EXTENSION, diagnosed
from antiphon.deadletters.native import adopt, native_letters
from antiphon.errors import UnsupportedCapabilityError
from antiphon.events.message import Message, Outgoing
from antiphon.runtime.settings import ServiceSettings, Settings
from antiphon.runtime.stand_ins import StandIns
from antiphon.storage.dead_letters import list_parked
from antiphon.storage.letter_query import LetterQuery
from antiphon.storage.set_aside import AsideState, counts
from antiphon.testing.clock import VirtualClock

SETTINGS = Settings(common=ServiceSettings(broker="memory:///"))
POLICY = Retry(immediate=0, delayed=1, first_delay=timedelta(seconds=5), jitter=False)


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


@pytest.fixture
async def broker() -> AsyncIterator[MemoryBroker]:
    broker = MemoryBroker("queue", clock=VirtualClock())
    await broker.open()
    yield broker
    await broker.close()
    await broker.database.close()


async def fails(order: OrderPlaced) -> None:
    raise ValueError(order.order_id)


async def rejects(order: OrderPlaced) -> None:
    raise RejectError(order.order_id)


async def fails_with_transaction(order: OrderPlaced, tx: Transaction) -> None:
    raise ValueError(order.order_id)


async def run(broker: MemoryBroker, service: Service, clock: VirtualClock, elapse: timedelta) -> None:
    """Let the service do all that it has to do in that time."""
    await service.start(broker, SETTINGS, StandIns(clock=clock))
    for _ in range(50):
        await clock.rest()
    await clock.advance(elapse)
    for _ in range(50):
        await clock.advance(timedelta(milliseconds=50))
    await service.stop()


@pytest.mark.parametrize("handler", [fails, rejects, fails_with_transaction], ids=lambda each: each.__name__)
async def test_what_is_parked_rests_in_the_broker_with_its_diagnosis(broker: MemoryBroker, handler) -> None:
    clock = VirtualClock()
    broker = MemoryBroker("queue", clock=clock)
    await broker.open()
    service = Service("payments", policy=POLICY, dead_letters="broker")
    service.on(OrderPlaced)(handler)
    message = Message("m-1", "OrderPlaced", clock.now(), b'{"order_id":"o-1"}', "o-1", source="shop")
    await broker.publish([Outgoing("orders", message)])
    await run(broker, service, clock, timedelta(seconds=6))
    (kept,) = await broker.read_dead_letters("payments", 10)
    letter = diagnosed(kept.message)
    assert letter is not None
    assert letter.message == message
    assert len(letter.attempts) == (1 if handler is rejects else 2)
    assert (letter.handler, letter.reason) == (handler.__name__, "RejectError" if handler is rejects else "ValueError")
    assert await list_parked(broker.database) == []
    assert (await counts(broker.database, "payments"))[AsideState.DELAYED] == 0
    assert [lag.messages for lag in await broker.lag("payments") if lag.messages] == []
    await broker.close()
    await broker.database.close()


async def test_it_is_among_all_dead_letters_and_comes_into_the_store_to_be_worked_with(broker: MemoryBroker) -> None:
    clock = VirtualClock()
    service = Service("payments", policy=Retry(immediate=0, delayed=0), dead_letters="broker")
    service.on(OrderPlaced)(fails)
    message = Message("m-1", "OrderPlaced", clock.now(), b'{"order_id":"o-1"}', "o-1", source="shop")
    await broker.publish([Outgoing("orders", message)])
    await run(broker, service, clock, timedelta(seconds=1))
    (letter,) = await native_letters(broker, LetterQuery(), 10)
    assert (letter.group, letter.reason) == ("payments", "ValueError")
    assert await adopt(broker, broker.database, LetterQuery()) == 1
    (parked,) = await list_parked(broker.database)
    assert parked.message == message
    assert EXTENSION not in parked.message.extensions
    assert await broker.read_dead_letters("payments", 10) == ()


async def test_what_the_broker_refuses_rests_in_the_store() -> None:
    clock = VirtualClock()
    broker = MemoryBroker(
        "queue", clock=clock, refuse=lambda outgoing: "too long" if outgoing.message.extensions else None
    )
    await broker.open()
    service = Service("payments", policy=Retry(immediate=0, delayed=0), dead_letters="broker")
    service.on(OrderPlaced)(fails)
    message = Message("m-1", "OrderPlaced", clock.now(), b'{"order_id":"o-1"}', "o-1", source="shop")
    await broker.publish([Outgoing("orders", message)])
    await run(broker, service, clock, timedelta(seconds=1))
    assert [letter.message for letter in await list_parked(broker.database)] == [message]
    assert await broker.read_dead_letters("payments", 10) == ()
    await broker.close()
    await broker.database.close()


@pytest.mark.parametrize("broker", [MemoryBroker(), MemoryBroker("queue", without=["native_dead_letters"])])
async def test_it_is_refused_at_the_start_where_the_broker_has_no_such_queue(broker: MemoryBroker) -> None:
    service = Service("payments", dead_letters="broker")
    service.on(OrderPlaced)(fails)
    with pytest.raises(UnsupportedCapabilityError, match="dead_letters='broker'"):
        await service.start(broker, SETTINGS)
    await broker.database.close()
