"""What is attempted at once: one message, or neighbors of one batch handler."""

from __future__ import annotations

import pytest
from msgspec import structs

from antiphon import Service, Transaction
from antiphon.brokers.ports import Delivery, Partition
from antiphon.errors import DecodeError
from antiphon.runtime.declared import Declared
from antiphon.runtime.route import HandlerOptions, Route
from antiphon.runtime.units import units_of
from antiphon.runtime.work import Work
from tests.unit.runtime.shop_events import OrderCancelled, OrderPlaced, a_message, routes_of


async def one_by_one(order: OrderCancelled, tx: Transaction) -> None: ...
async def together(orders: list[OrderPlaced], tx: Transaction) -> None: ...


@pytest.fixture
def routes() -> dict[str, Route]:
    declared = Declared("payments")
    declared.add(one_by_one, (OrderCancelled,), HandlerOptions(), {})
    declared.add(together, (OrderPlaced,), HandlerOptions(batch_size=3), {})
    return routes_of(declared)["orders"]


def works(route: Route, *ids: str, partition: int = 0) -> list[Work]:
    at = Partition("orders", partition)
    messages = [a_message(id, f'{{"order_id":"{id}"}}'.encode()) for id in ids]
    return [Work(Delivery(at, "0", structs.replace(message, type=route.label)), route) for message in messages]


def test_without_batches_each_message_is_a_unit(routes):
    units = units_of(works(routes["OrderCancelled"], "a", "b"))
    assert [unit.event for unit in units] == [OrderCancelled("a"), OrderCancelled("b")]


def test_neighbors_of_a_batch_handler_are_a_unit_up_to_its_size(routes):
    units = units_of(works(routes["OrderPlaced"], "a", "b", "c", "d"))
    assert [unit.event for unit in units] == [[OrderPlaced(id) for id in "abc"], [OrderPlaced("d")]]


def test_another_handler_in_between_ends_a_batch(routes):
    batch, single = routes["OrderPlaced"], routes["OrderCancelled"]
    units = units_of([*works(batch, "a"), *works(single, "b"), *works(batch, "c", "d")])
    assert [unit.event for unit in units] == [
        [OrderPlaced("a")],
        OrderCancelled("b"),
        [OrderPlaced("c"), OrderPlaced("d")],
    ]


def test_a_batch_is_of_one_partition(routes):
    """Partitions wait for newer code, and are lost, each for itself."""
    batch = routes["OrderPlaced"]
    units = units_of([*works(batch, "a", "b"), *works(batch, "c", partition=1)])
    assert [unit.event for unit in units] == [[OrderPlaced("a"), OrderPlaced("b")], [OrderPlaced("c")]]


def test_nothing_makes_no_unit():
    assert units_of([]) == []


def test_what_cannot_be_read_is_kept_as_an_error(routes):
    (unit,) = units_of([Work(Delivery(Partition("orders", 0), "0", a_message(data=b"{")), routes["OrderCancelled"])])
    assert isinstance(unit.error, DecodeError)
    assert unit.event is None


def test_duplicates_leave_a_batch_and_the_rest_stays(routes):
    (unit,) = units_of(works(routes["OrderPlaced"], "a", "b", "c"))
    second = unit.works[1]
    assert unit.keep([True, False, True]) == [second]
    assert unit.event == [OrderPlaced("a"), OrderPlaced("c")]


def test_a_batch_falls_into_its_parts(routes):
    (unit,) = units_of(works(routes["OrderPlaced"], "a", "b"))
    assert [part.event for part in unit.parts()] == [[OrderPlaced("a")], [OrderPlaced("b")]]


def test_a_service_of_no_handlers_has_no_routes():
    assert routes_of(Declared("idle")) == {}
    assert repr(Service("idle")) == "Service('idle', 0 handlers)"
