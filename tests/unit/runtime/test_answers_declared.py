"""What is said to who declares an answer, or asks, in a way that cannot work."""

from __future__ import annotations

import sqlite3
from datetime import timedelta

import pytest
from msgspec import Struct

from antiphon.brokers.memory import MemoryBroker
from antiphon.errors import DeadLetterError, DeclarationError, DuplicateHandlerError, UsageError
from antiphon.events.clock import SystemClock
from antiphon.events.declare import Key, event
from antiphon.runtime.asking import Asker
from antiphon.runtime.compose import Composer
from antiphon.runtime.dry_run import DryRunPlan
from antiphon.runtime.service import Service
from antiphon.runtime.summary import summarize
from antiphon.storage.database import Transaction


@event(topic="questions")
class AskPrice(Struct, frozen=True):
    product: Key[str]


@event(topic="quotes")
class Price(Struct, frozen=True):
    product: Key[str]


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


class Undeclared(Struct):
    product: str


async def nothing(ask: AskPrice) -> None: ...


async def maybe(ask: AskPrice) -> Price | None: ...


async def several(ask: AskPrice) -> list[Price]: ...


async def either(ask: AskPrice) -> Price | OrderPlaced:
    return Price("tea")


async def unsaid(ask: AskPrice): ...


async def yielding(ask: AskPrice) -> Price:  # type: ignore[misc]
    yield Price("tea")


@pytest.mark.parametrize("function", [nothing, maybe, several, either, unsaid, yielding])
def test_who_answers_returns_one_event(function):
    with pytest.raises(DeclarationError, match="returns one event of one class"):
        Service("pricing").answers(AskPrice)(function)


def test_a_reply_is_a_declared_event():
    async def quote(ask: AskPrice) -> Undeclared:
        return Undeclared("tea")

    with pytest.raises(DeclarationError, match="no declared event"):
        Service("pricing").answers(AskPrice)(quote)


def test_one_service_answers_a_request_once():
    service = Service("pricing")

    @service.answers(AskPrice)
    async def quote(ask: AskPrice) -> Price:
        return Price(ask.product)

    async def again(ask: AskPrice) -> Price:
        return Price(ask.product)

    with pytest.raises(DuplicateHandlerError):
        service.answers(AskPrice)(again)


def test_once_by_would_leave_whoever_asks_again_without_a_reply():
    async def quote(ask: AskPrice, tx: Transaction) -> Price:
        return Price(ask.product)

    with pytest.raises(DeclarationError, match="whoever asks again gets no reply"):
        Service("pricing").answers(AskPrice, once_by="product")(quote)


def test_a_reply_is_no_event_that_the_service_publishes():
    service = Service("pricing")

    @service.answers(AskPrice)
    async def quote(ask: AskPrice) -> Price:
        return Price(ask.product)

    described = service.describe(MemoryBroker())
    assert [topic.name for topic in described.topics] == ["questions"]
    (handler,) = described.handlers
    assert handler.emits == ()
    assert handler.answers is not None
    assert handler.answers.name == "Price"


def test_a_plain_function_cannot_ask():
    def take(order: OrderPlaced, asker: Asker) -> None: ...

    with pytest.raises(DeclarationError, match="cannot await an Asker"):
        Service("shop").on(OrderPlaced)(take)


def test_who_asks_does_not_hold_a_transaction_that_others_need():
    async def take(order: OrderPlaced, asker: Asker, tx: Transaction) -> None: ...

    with pytest.raises(DeclarationError, match="transaction='own'"):
        Service("shop").on(OrderPlaced)(take)
    Service("shop").on(OrderPlaced, transaction="own")(take)


def test_who_asks_does_not_sit_in_an_open_session():
    async def take(order: OrderPlaced, asker: Asker, connection: sqlite3.Connection) -> None: ...

    with pytest.raises(DeclarationError):
        Service("shop").on(OrderPlaced)(take)


@pytest.mark.parametrize("name", ["", "the shop", "shop/eu", "läden", "antiphon#1"])
async def test_an_asker_has_a_name_that_every_broker_takes(name):
    with pytest.raises(UsageError, match="asker name"):
        Asker(MemoryBroker(), name=name)


@pytest.mark.parametrize("within", [2, 0.5, None])
async def test_a_time_to_wait_is_no_bare_number(within):
    with pytest.raises(UsageError, match="within=timedelta"):
        await Asker(MemoryBroker(), name="shop").ask(AskPrice("tea"), Price, within=within)


async def test_what_is_awaited_is_an_event():
    with pytest.raises(DeclarationError, match="not declared as an event"):
        await Asker(MemoryBroker(), name="shop").ask(AskPrice("tea"), Undeclared, within=timedelta(seconds=1))


def test_what_a_service_answers_is_shown():
    service = Service("pricing")

    @service.answers(AskPrice)
    async def quote(ask: AskPrice) -> Price:
        return Price(ask.product)

    shown = summarize([service.describe(MemoryBroker())])
    assert "quote: AskPrice from questions ─▶ Price to whoever asks" in shown
    assert "instead of parking, whoever asked is told" in shown
    assert "none: requests do not wait for each other" in shown


def _asking():
    service = Service("shop")

    @service.on(OrderPlaced)
    async def take(order: OrderPlaced, asker: Asker) -> None:
        await asker.ask(AskPrice(order.order_id), Price, within=timedelta(seconds=1))

    return service


async def test_a_dry_run_asks_nobody_unless_something_stands_in():
    broker, asked = MemoryBroker(), list[object]()
    message = Composer("test", SystemClock()).first(OrderPlaced("tea")).message

    class Instead:
        async def ask(self, request, reply, *, within, key=None):
            asked.append(request)
            return Price("tea")

    await broker.open()
    with pytest.raises(DeadLetterError, match="would call Asker for real"):
        await _asking().dry_run("orders", message, broker.database)
    with pytest.raises(DeadLetterError, match="replace what it asks with"):
        await _asking().dry_run("orders", message, broker.database, DryRunPlan(allow=["Asker"]))
    found = await _asking().dry_run("orders", message, broker.database, DryRunPlan(replace={Asker: Instead()}))
    assert found.error is None
    assert found.replaced == ()
    assert asked == [AskPrice("tea")]
    await broker.close()
    await broker.database.close()
