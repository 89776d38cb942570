"""The summary says what runs, what is guaranteed and why, and what happens on failure."""

from pathlib import Path

from antiphon import Key, Service, Struct, Transaction, event
from antiphon.runtime.settings import combine
from antiphon.runtime.summary import summarize


@event(topic="orders", version=2)
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


@event(topic="payments")
class PaymentAuthorised(Struct, frozen=True):
    order_id: Key[str]


def test_it_names_handlers_topics_guarantee_policy_and_place():
    service = Service("payments")

    @service.on(OrderPlaced)
    async def authorise(order: OrderPlaced, tx: Transaction) -> PaymentAuthorised:
        return PaymentAuthorised(order.order_id)

    settings = combine({"broker": "memory:///"}, {}, {}, None, Path("/shop"))
    lines = [line.strip() for line in summarize([service.describe(settings=settings)]).splitlines()]
    assert lines[:2] == ["payments  (group payments)", "broker  memory:///"]
    assert "topic   orders: read, 8 partitions" in lines
    assert "topic   payments: written, 8 partitions" in lines
    assert "authorise: OrderPlaced v2 from orders ─▶ PaymentAuthorised" in lines
    assert any(line.startswith("guarantee  effectively_once: ") for line in lines)
    assert any(
        line.startswith("on failure 3 immediate retries, 5 delayed over up to 5m41s, then park") for line in lines
    )
    assert any("test_summary.py:" in line for line in lines)


def test_it_says_beside_the_guarantee_by_which_field_a_handler_runs_once():
    service = Service("payments")

    @service.on(OrderPlaced, once_by="order_id")
    async def authorise(order: OrderPlaced, tx: Transaction) -> None: ...

    described = service.describe(settings=combine({"broker": "memory:///"}, {}, {}, None, Path("/shop")))
    assert described.handlers[0].guarantee == "effectively_once"
    assert described.handlers[0].reason.endswith("; what has the same order_id is a duplicate, under any id")
    assert "what has the same order_id is a duplicate" in summarize([described])


def test_it_says_that_a_relay_publishes_from_a_store_that_is_not_the_brokers():
    settings = combine({"broker": "memory:///", "store": "sqlite:///own.db"}, {}, {}, None, Path("/shop"))
    described = Service("payments").describe(settings=settings)
    assert described.has_outbox
    lines = [line.strip() for line in summarize([described]).splitlines()]
    told = "relay   publishes what transactions emit, from the outbox of the store"
    assert lines[2:4] == ["store   sqlite:////shop/own.db", told]


def test_it_says_that_a_service_handles_nothing():
    settings = combine({"broker": "memory:///"}, {}, {}, None, Path("/shop"))
    assert "no handlers" in summarize([Service("payments").describe(settings=settings)])
