"""What a service may declare, and what it refuses before anything runs."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from antiphon import Key, Publisher, Replica, Service, Struct, Transaction, event
from antiphon.brokers.memory import MemoryBroker
from antiphon.errors import DeclarationError, DuplicateHandlerError, GuaranteeError
from antiphon.runtime.declared import Declared
from antiphon.runtime.dependencies import read_provider
from antiphon.runtime.route import HandlerOptions
from tests.unit.runtime.shop_events import (
    NoEvent,
    OrderCancelled,
    OrderPlaced,
    OrderReadyToShip,
    PaymentTaken,
    PriceSet,
)


class Address:
    pass


class Gateway:
    pass


async def take(order: OrderPlaced) -> PaymentTaken: ...
async def take_again(order: OrderPlaced) -> None: ...
def plain_with_transaction(order: OrderPlaced, tx: Transaction) -> None: ...
def plain_with_publisher(order: OrderPlaced, publisher: Publisher) -> None: ...
async def publisher_undeclared(order: OrderPlaced, publisher: Publisher) -> None: ...
async def batch(orders: list[OrderPlaced], tx: Transaction) -> None: ...
async def address(note: OrderReadyToShip) -> Address: ...
async def ship(note: OrderReadyToShip, address: Address) -> None: ...


def yielding_with_transaction(order: OrderPlaced, tx: Transaction) -> Iterator[PaymentTaken]:
    yield PaymentTaken("")


@pytest.fixture
def declared() -> Declared:
    return Declared("payments")


def add(declared, function, *events, **options):
    declared.add(function, events or (OrderPlaced,), HandlerOptions(**options), {})


def test_what_it_reads_and_emits_is_known_from_types_alone(declared):
    add(declared, take)
    assert [each.name for each in declared.reads()] == ["OrderPlaced"]
    assert [each.name for each in declared.emits()] == ["PaymentTaken"]
    assert declared.topics_read() == ["orders"]
    assert declared.topics() == ["orders", "payments"]


def test_a_second_handler_of_an_event_is_refused_with_both_places(declared):
    add(declared, take)
    with pytest.raises(DuplicateHandlerError) as caught:
        add(declared, take_again)
    assert "service 'payments' handles 'OrderPlaced' twice" in str(caught.value)
    assert "take (" in caught.value.first
    assert "take_again (" in caught.value.second
    assert len(declared.handlers) == 1


def test_two_handlers_of_one_name_are_refused(declared):
    add(declared, take)

    async def take_(order: OrderCancelled) -> None: ...

    take_.__name__ = "take"
    with pytest.raises(DeclarationError, match="names go into the ids of what handlers emit, so give it another"):
        add(declared, take_, OrderCancelled)


@pytest.mark.parametrize("function", [plain_with_transaction, yielding_with_transaction])
def test_a_plain_function_cannot_have_a_transaction(declared, function):
    with pytest.raises(DeclarationError, match="runs in a thread, and a Transaction belongs to the event loop's"):
        add(declared, function)


def test_a_plain_function_cannot_have_a_publisher(declared):
    with pytest.raises(DeclarationError, match="cannot await a Publisher: return the events"):
        add(declared, plain_with_publisher, publishes=(PaymentTaken,))


def test_a_publisher_needs_a_declaration_of_what_it_sends(declared):
    with pytest.raises(DeclarationError, match=r"declare publishes=\(...\), the events it may send"):
        add(declared, publisher_undeclared)


def test_what_a_publisher_sends_must_be_events(declared):
    with pytest.raises(DeclarationError, match="NoEvent"):
        add(declared, publisher_undeclared, publishes=(NoEvent,))


def test_a_batch_cannot_have_a_transaction_of_its_own(declared):
    with pytest.raises(DeclarationError, match="a batch handler shares its transaction"):
        add(declared, batch, batch_size=10, transaction="own")


def test_nothing_is_taken_of_what_was_refused(declared):
    with pytest.raises(DeclarationError):
        add(declared, plain_with_transaction)
    assert declared.handlers == []
    assert declared.by_event == {}


def test_only_notifications_have_fetchers_and_only_one(declared):
    with pytest.raises(DeclarationError, match="'OrderPlaced' is no notification, it carries its details"):
        declared.fetch(OrderPlaced, address, Address)
    declared.fetch(OrderReadyToShip, address, Address)
    with pytest.raises(DeclarationError, match="'OrderReadyToShip' has a fetcher already; keep one"):
        declared.fetch(OrderReadyToShip, address, Address)


def test_details_need_no_provider(declared):
    add(declared, ship, OrderReadyToShip)
    with pytest.raises(DeclarationError, match="asks for Address, which the service does not provide"):
        declared.check()
    declared.fetch(OrderReadyToShip, address, Address)
    declared.check()


def test_details_of_one_event_are_not_there_for_another(declared):
    async def either(note: OrderReadyToShip | OrderPlaced, address: Address) -> None: ...

    add(declared, either, OrderReadyToShip, OrderPlaced)
    declared.fetch(OrderReadyToShip, address, Address)
    with pytest.raises(DeclarationError, match="asks for Address, which the service does not provide"):
        declared.check()


def test_details_are_not_fetched_for_batches(declared):
    async def ship_all(notes: list[OrderReadyToShip], address: Address) -> None: ...

    add(declared, ship_all, OrderReadyToShip, batch_size=10)
    declared.fetch(OrderReadyToShip, address, Address)
    with pytest.raises(DeclarationError, match="details are fetched for one event at a time, not for a batch"):
        declared.check()


def test_what_a_handler_asks_for_must_be_provided(declared):
    async def ask(order: OrderPlaced, gateway: Gateway) -> None: ...

    add(declared, ask)
    with pytest.raises(DeclarationError, match=r"ask .* asks for Gateway, .* \(it provides nothing yet\)"):
        declared.check()


def test_what_a_provider_asks_for_must_be_provided_too(declared):
    def gateway(address: Address) -> Gateway: ...

    provider = read_provider(gateway, {})
    declared.providers[Gateway] = provider
    with pytest.raises(DeclarationError, match=r"gateway .* asks for Address, .* \(it provides Gateway\)"):
        declared.check()


def test_a_type_has_one_provider():
    service = Service("payments")

    @service.provides
    def gateway() -> Gateway:
        return Gateway()

    with pytest.raises(DeclarationError, match="service 'payments' has two providers of Gateway: keep one"):

        @service.provides
        def other() -> Gateway:
            return Gateway()


@pytest.mark.parametrize("name", ["", "two words", "a/b", "ä b"])
def test_a_service_has_a_name_that_can_be_a_group(name):
    with pytest.raises(DeclarationError, match=r"use letters, digits, '-', '_' and '\.'"):
        Service(name)


def test_a_batch_holds_something():
    with pytest.raises(DeclarationError, match=r"on_batch\(size=0\): a batch holds at least one event"):
        Service("payments").on_batch(OrderPlaced, size=0)


def test_only_state_transfer_events_with_a_key_have_replicas():
    with pytest.raises(DeclarationError, match="cannot keep a replica of 'OrderPlaced'"):
        Service("payments").replica(OrderPlaced)


def test_a_replica_is_a_handler_like_any_other():
    service = Service("payments")
    service.replica(PriceSet)
    with pytest.raises(DuplicateHandlerError, match="handles 'PriceSet' twice"):
        service.replica(PriceSet)


async def test_a_demand_that_is_not_met_is_refused_before_anything_is_opened():
    service, broker = Service("payments"), MemoryBroker(without=("transactions",))
    service.on(OrderPlaced, guarantee="effectively_once")(take)
    with pytest.raises(GuaranteeError, match="take demands effectively_once but would get at_least_once"):
        await service.start(broker)
    assert not broker.database.counters.commits


def test_a_demand_that_is_no_guarantee_is_refused():
    with pytest.raises(DeclarationError, match="guarantee='exactly_once'"):
        Service("payments").on(OrderPlaced, guarantee="exactly_once")(take)


def test_a_policy_for_an_event_that_no_handler_reads_is_refused(declared):
    add(declared, take)
    declared.check([OrderPlaced])
    told = "policies={OrderCancelled: ...}: no handler of it reads that event, it reads OrderPlaced: declare one"
    with pytest.raises(DeclarationError, match=re.escape(told)):
        declared.check([OrderPlaced, OrderCancelled])


def test_a_policy_for_an_event_that_is_kept_as_a_replica_is_used(declared):
    declared.keep(Replica("payments", PriceSet))
    declared.check([PriceSet])


def test_a_policy_names_an_event_by_the_class_that_its_handler_reads_it_by(declared):
    @event(topic="orders", name="OrderPlaced")
    class Placed(Struct, frozen=True):
        order_id: Key[str]

    add(declared, take)
    with pytest.raises(DeclarationError, match=r"reads 'OrderPlaced' by another class, .*shop_events\.OrderPlaced"):
        declared.check([Placed])
