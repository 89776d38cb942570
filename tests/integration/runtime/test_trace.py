"""The trace and the story of a message stay with it wherever it waits, and go on in what is emitted in the end."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from antiphon import Key, Message, Retry, Service, Struct, Transaction, event
from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.brokers.memory import MemoryBroker
from antiphon.brokers.ports import Broker
from antiphon.deadletters.choosing import choose
from antiphon.deadletters.redrive import Pace, start_redrive
from antiphon.events.clock import SystemClock
from antiphon.events.message import Outgoing
from antiphon.runtime.compose import Composer
from antiphon.storage.dead_letters import list_parked
from antiphon.storage.letter_query import LetterQuery
from antiphon.storage.set_aside import AsideState, counts

TRACES = (
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
)
POLICY = Retry(immediate=1, delayed=1, first_delay=timedelta(milliseconds=20), jitter=False)


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


@event(topic="payments")
class PaymentTaken(Struct, frozen=True):
    order_id: Key[str]


class Bank:
    """What handlers call: it is down until it is mended. Notes which messages came to it, and what it made known."""

    def __init__(self) -> None:
        self.is_down = True
        self.came: defaultdict[str, list[Message]] = defaultdict(list)
        self.heard: dict[str | None, Message] = {}

    def take(self, order: OrderPlaced, message: Message) -> PaymentTaken:
        self.came[message.id].append(message)
        if self.is_down:
            raise ConnectionError("the bank does not answer")
        return PaymentTaken(order.order_id)


def awaiting(service: Service, bank: Bank) -> None:
    @service.on(OrderPlaced)
    async def take(order: OrderPlaced, message: Message) -> PaymentTaken:
        return bank.take(order, message)


def shared(service: Service, bank: Bank) -> None:
    @service.on(OrderPlaced)
    async def take(order: OrderPlaced, message: Message, tx: Transaction) -> PaymentTaken:
        return bank.take(order, message)


def own(service: Service, bank: Bank) -> None:
    @service.on(OrderPlaced, transaction="own")
    async def take(order: OrderPlaced, message: Message, tx: Transaction) -> PaymentTaken:
        await tx.fetch("select 1")
        return bank.take(order, message)


def batch(service: Service, bank: Bank) -> None:
    @service.on_batch(OrderPlaced, size=1)
    async def take(orders: list[OrderPlaced], message: Message) -> list[PaymentTaken]:
        return [bank.take(order, message) for order in orders]


BROKERS: dict[str, Callable[[Path], Broker]] = {
    "log": lambda _: MemoryBroker(),
    "queue": lambda _: MemoryBroker(model="queue"),
    "embedded": lambda folder: EmbeddedBroker(folder / "log.db"),
}


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Broker:
    return BROKERS[request.param](tmp_path)


def traced() -> Sequence[Message]:
    """Two messages of one key, each of a trace of its own and a part of a longer story."""
    composer = Composer("shop", SystemClock())
    made = [composer.first(OrderPlaced("o-1")).message for _ in TRACES]
    return [
        replace(one, traceparent=trace, tracestate=f"shop={number}", correlation_id=f"story-{number}", tenant="t-1")
        for number, (one, trace) in enumerate(zip(made, TRACES, strict=True))
    ]


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await holds():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("way", [awaiting, shared, own, batch], ids=lambda way: way.__name__)
async def test_a_trace_goes_through_retries_park_and_redrive_into_what_is_emitted(
    broker: Broker, way: Callable[[Service, Bank], None]
) -> None:
    bank, messages = Bank(), traced()
    payments, audit = Service("payments", policy=POLICY), Service("audit")
    way(payments, bank)

    @audit.on(PaymentTaken)
    async def hear(payment: PaymentTaken, message: Message) -> None:
        bank.heard[message.causation_id] = message

    await payments.start(broker)
    await audit.start(broker)
    store = payments.store

    keeps_order = broker.capabilities.key_order
    expected = {AsideState.PARKED: 1, AsideState.BEHIND: 1} if keeps_order else {AsideState.PARKED: 2}

    async def none_is_on_its_way() -> bool:
        return {state: count for state, count in (await counts(store, "payments")).items() if count} == expected

    async def both_are_heard() -> bool:
        return len(bank.heard) == 2

    await broker.publish([Outgoing("orders", each) for each in messages])
    await until(none_is_on_its_way)
    parked = sorted((letter.message for letter in await list_parked(store)), key=lambda each: each.id)
    assert parked == list(messages[: expected[AsideState.PARKED]])
    bank.is_down = False
    await start_redrive(store, SystemClock(), (await choose(store, LetterQuery())).numbers, Pace(), "ada")
    await until(both_are_heard)
    await payments.stop()
    await audit.stop()
    await broker.close()

    # Tried, at once again, later, and sent again; what waited behind another one only then.
    assert [len(bank.came[each.id]) for each in messages] == [4, 1 if keeps_order else 4]
    for each in messages:
        assert all(came == each for came in bank.came[each.id])
        emitted = bank.heard[each.id]
        assert (emitted.correlation_id, emitted.tenant) == (each.correlation_id, "t-1")
        _, trace, span, flags = each.traceparent.split("-")
        assert emitted.traceparent.split("-")[1::2] == [trace, flags]
        assert emitted.traceparent.split("-")[2] != span
        assert emitted.tracestate == each.tracestate
