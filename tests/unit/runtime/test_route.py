"""A handler is compiled once: what it asks for is bound, what it returns is collected, how it runs is decided."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator

import pytest

from antiphon import Delivery, Message, Publisher, Transaction
from antiphon.brokers.ports import Partition
from antiphon.errors import HandlingError
from antiphon.resilience import AT_ONCE, Retry
from antiphon.runtime.declared import Declared
from antiphon.runtime.options import Choices
from antiphon.runtime.route import (
    MOST_EMITTED,
    Given,
    HandlerOptions,
    Mode,
    Route,
    collect,
    compile_call,
    events_of,
    gathered,
)
from antiphon.runtime.signature import Shape
from tests.unit.runtime.shop_events import (
    OrderCancelled,
    OrderPlaced,
    OrderReadyToShip,
    PaymentTaken,
    a_message,
    routes_of,
)


class Gateway:
    pass


class Address:
    pass


def compiled(function, *events, dependencies=(), choices=None, policy=None, fetch=None, **options) -> Route:
    declared = Declared("payments")
    events = events or (OrderPlaced,)
    declared.add(function, events, HandlerOptions(policy=policy, **options), {})
    if fetch:
        declared.fetch(events[0], fetch, Address)
    routes = routes_of(declared, dict(dependencies), choices)
    return next(iter(routes["orders"].values()))


def given() -> Given:
    return Given(Delivery(Partition("orders", 0), "7", a_message()), "tx", "publisher", "details")


async def nothing_else(order: OrderPlaced) -> None: ...
async def writes(order: OrderPlaced, tx: Transaction) -> None: ...
async def streams(order: OrderPlaced) -> AsyncIterator[PaymentTaken]:
    yield PaymentTaken("")


def plain(order: OrderPlaced) -> None: ...
def generates(order: OrderPlaced) -> Iterator[PaymentTaken]:
    yield PaymentTaken("")


@pytest.mark.parametrize(
    ("function", "options", "mode"),
    [
        (nothing_else, {}, Mode.AWAIT),
        (streams, {}, Mode.AWAIT),
        (plain, {}, Mode.THREAD),
        (generates, {}, Mode.THREAD),
        (writes, {}, Mode.SHARED),
        (writes, {"transaction": "own"}, Mode.OWN),
    ],
)
def test_how_it_runs_follows_from_what_it_is_and_asks_for(function, options, mode):
    assert compiled(function, **options).mode is mode


def test_only_a_coroutine_function_of_nothing_but_its_event_is_called_directly():
    assert compiled(nothing_else).direct is nothing_else
    assert compiled(writes).direct is None
    assert compiled(plain).direct is None
    assert compiled(streams).direct is None


async def test_each_need_gets_what_it_asks_for_by_name():
    async def ask(
        order: OrderPlaced, gateway: Gateway, d: Delivery, m: Message, tx: Transaction, p: Publisher
    ) -> tuple[PaymentTaken, ...]:
        return (order, gateway, d, m, tx, p)

    gateway, it = Gateway(), given()
    route = compiled(ask, dependencies={Gateway: gateway}, publishes=(PaymentTaken,))
    found = await route.call(OrderPlaced("a"), it)
    assert found == (OrderPlaced("a"), gateway, it.delivery, it.delivery.message, "tx", "publisher")


async def test_a_transaction_alone_and_dependencies_alone_are_given_too():
    async def both(order: OrderPlaced, tx: Transaction, gateway: Gateway) -> None:
        seen.append((tx, gateway))

    async def one(order: OrderPlaced, gateway: Gateway) -> None:
        seen.append(gateway)

    seen, gateway = [], Gateway()
    await compiled(both, dependencies={Gateway: gateway}).call(OrderPlaced("a"), given())
    await compiled(one, dependencies={Gateway: gateway}).call(OrderPlaced("a"), given())
    assert seen == [("tx", gateway), gateway]


async def test_details_are_what_was_fetched():
    async def ship(note: OrderReadyToShip, address: Address) -> None:
        seen.append(address)

    async def fetch(note: OrderReadyToShip) -> Address: ...

    seen = []
    route = compiled(ship, OrderReadyToShip, fetch=fetch)
    assert route.fetcher is fetch
    await route.call(OrderReadyToShip("a"), given())
    assert seen == ["details"]


def test_a_handlers_own_policy_counts_more_than_that_of_its_event_and_that_more_than_the_services():
    own, of_event, of_service = Retry(immediate=0), Retry(immediate=1), Retry(immediate=2)
    choices = Choices(policy=of_service, policies={OrderPlaced: of_event})
    assert compiled(nothing_else).policy == Retry()
    assert compiled(nothing_else, choices=Choices(policy=of_service)).policy == of_service
    assert compiled(nothing_else, choices=choices).policy == of_event
    assert compiled(nothing_else, choices=choices, policy=own).policy == own


def test_what_is_settled_before_it_is_handled_is_never_tried_again():
    assert compiled(nothing_else, settles_first=True).policy == AT_ONCE


def test_a_handler_of_two_events_has_a_route_for_each():
    async def either(order: OrderPlaced | OrderCancelled) -> None: ...

    declared = Declared("payments")
    declared.add(either, (OrderPlaced, OrderCancelled), HandlerOptions(), {})
    routes = routes_of(declared)["orders"]
    assert set(routes) == {"OrderPlaced", "OrderCancelled"}
    assert routes["OrderPlaced"].label == "OrderPlaced"


async def test_what_a_call_gave_is_collected():
    async def one() -> str:
        return "one"

    async def many():
        yield 1
        yield 2

    assert await collect(one(), Shape.ASYNC) == "one"
    assert await collect(many(), Shape.ASYNC_GENERATOR) == [1, 2]
    assert await collect("plain", Shape.PLAIN) == "plain"
    assert gathered(iter([1, 2])) == [1, 2]


async def test_an_endless_stream_is_stopped():
    async def endless():
        while True:
            yield 1

    with pytest.raises(HandlingError, match=f"emitted more than {MOST_EMITTED} events on one message"):
        await collect(endless(), Shape.ASYNC_GENERATOR)
    with pytest.raises(HandlingError, match="split the work"):
        gathered(iter(lambda: 1, 0))


def test_a_result_is_no_event_one_or_many():
    assert events_of(None) == ()
    assert events_of(PaymentTaken("a")) == (PaymentTaken("a"),)
    assert events_of([PaymentTaken("a"), PaymentTaken("b")]) == (PaymentTaken("a"), PaymentTaken("b"))
    assert events_of(()) == ()


def test_a_handler_that_waits_is_named_once(caplog):
    route = compiled(writes)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            route.found_waiting()
    assert route.waits == 3
    assert [record.message.partition(" ")[0] for record in caplog.records] == ["writes"]


def test_middleware_turns_every_shape_into_a_coroutine():
    async def pass_on(delivery, call_next):
        return await call_next()

    declared = Declared("payments")
    declared.middleware.append(pass_on)
    declared.add(plain, (OrderPlaced,), HandlerOptions(), {})
    route = routes_of(declared)["orders"]["OrderPlaced"]
    assert (route.shape, route.mode, route.direct) == (Shape.ASYNC, Mode.AWAIT, None)


def test_compiled_calls_are_made_of_functions_alone():
    declared = Declared("payments")
    declared.add(nothing_else, (OrderPlaced,), HandlerOptions(), {})
    call = compile_call(declared.handlers[0], {}, None)
    call(OrderPlaced("a"), given()).close()
