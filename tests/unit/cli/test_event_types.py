"""A name on the command line finds the one event it means."""

import pytest

from antiphon import Key, Struct, event
from antiphon.cli.event_types import event_types, find_event_type
from antiphon.errors import UsageError


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


def another(topic="orders", version=1):
    @event(topic=topic, version=version)
    class OrderPlaced(Struct, frozen=True):
        order_id: Key[str]

    return OrderPlaced


@event(topic="orders", name="OrderPlaced")
class Wider(Struct, frozen=True):
    order_id: Key[str]
    total: int


@event(topic="payments", name="payment.captured")
class Captured(Struct, frozen=True):
    order_id: Key[str]


def test_whatever_was_imported_and_declared_is_known():
    assert {OrderPlaced, Wider, Captured} <= set(event_types())


def test_the_name_on_the_wire_and_the_path_of_the_class_both_mean_it():
    assert find_event_type("payment.captured", [OrderPlaced, Captured]) is Captured
    assert find_event_type(f"{__name__}:Captured", [OrderPlaced, Captured]) is Captured


def test_declarations_that_write_the_same_are_one():
    assert find_event_type("OrderPlaced", [OrderPlaced, another()]) is OrderPlaced


@pytest.mark.parametrize("other", [Wider, another(topic="archive"), another(version=2)])
def test_declarations_that_differ_must_be_named_in_full(other):
    with pytest.raises(UsageError, match="declared with different fields by") as caught:
        find_event_type("OrderPlaced", [OrderPlaced, other])
    assert f"{__name__}:OrderPlaced" in str(caught.value)


def test_an_unknown_name_is_answered_with_the_nearest_or_with_all():
    with pytest.raises(UsageError, match="did you mean 'OrderPlaced'"):
        find_event_type("OrderPlacd", [OrderPlaced, Captured])
    with pytest.raises(UsageError, match=r"there are OrderPlaced, payment\.captured"):
        find_event_type("zzz", [OrderPlaced, Captured])
