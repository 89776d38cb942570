"""Fields on the command line become an event of the declared types, or an error that names the field."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum

import pytest
from pydantic import BaseModel

from antiphon import Key, Struct, event
from antiphon.cli.fields import build_event, read_fields
from antiphon.errors import UsageError


class Address(Struct, frozen=True):
    city: str
    number: int = 0


class Size(Enum):
    SMALL = "small"


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]
    total: Decimal = Decimal(0)
    count: int = 0
    express: bool = False
    note: str | None = None
    items: tuple[int, ...] = ()
    at: datetime | None = None
    address: Address | None = None
    size: Size = Size.SMALL


@event(topic="orders")
@dataclass(frozen=True)
class OrderShipped:
    order_id: str
    parcels: int


@event(topic="orders")
class OrderRated(BaseModel):
    order_id: str
    stars: int


def build(cls, *written):
    return build_event(cls, read_fields(written))


def refusal(cls, *written):
    with pytest.raises(UsageError) as caught:
        build(cls, *written)
    return str(caught.value)


def test_texts_become_the_declared_types():
    assert build(OrderPlaced, "order_id=7", "total=12.50", "count=3", "express=true", "size=small") == OrderPlaced(
        "7", Decimal("12.50"), 3, True, size=Size.SMALL
    )


def test_a_text_stays_a_text_whatever_it_looks_like():
    assert build(OrderPlaced, "order_id=007", "note=a=b").note == "a=b"


def test_dots_reach_into_nested_values():
    assert build(OrderPlaced, "order_id=7", "address.city=Berlin", "address.number=4").address == Address("Berlin", 4)


def test_json_follows_a_colon():
    assert build(OrderPlaced, "order_id=7", "items:=[1, 2]").items == (1, 2)
    assert build(OrderPlaced, "order_id=7", 'address:={"city": "Berlin"}').address == Address("Berlin")


def test_dataclasses_and_pydantic_models_are_built_as_well():
    assert build(OrderShipped, "order_id=7", "parcels=2") == OrderShipped("7", 2)
    assert build(OrderRated, "order_id=7", "stars=5") == OrderRated(order_id="7", stars=5)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (["order_id"], "'order_id': write field=value"),
        (["=7"], "write field=value"),
        (["a..b=7"], "write field=value"),
        (["order_id=7", "order_id=8"], "'order_id' is given twice"),
        (["order_id=7", "items:=[1"], "what follows := is no JSON"),
        (["order_id=7", "totl=1"], "OrderPlaced has no field 'totl'; it has order_id, total, count"),
        (["total=1"], "OrderPlaced: Object missing required field `order_id`"),
        (["order_id=7", "count=many"], "in `count`"),
        (["order_id=7", "address.city=x", "address.number=y"], "in `address.number`"),
        (["order_id=7", "address=Berlin", "address.number=1"], "'address' was given a value before"),
        (["order_id=7", "size=huge"], "in `size`"),
    ],
)
def test_what_cannot_be_used_is_named(written, told):
    assert told in refusal(OrderPlaced, *written)


def test_a_pydantic_model_refuses_in_one_line():
    told = refusal(OrderRated, "order_id=7", "stars=many")
    assert "OrderRated: " in told
    assert "\n" not in told
