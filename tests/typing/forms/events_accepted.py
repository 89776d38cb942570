"""Events as users write them; both type checkers accept every line."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import assert_type
from uuid import UUID

from msgspec import field
from pydantic import BaseModel, Field

from antiphon import EventKind, Key, Struct, event


class Region(StrEnum):
    EU = "eu"
    US = "us"


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    """A customer placed an order."""

    order_id: Key[str]
    total: Decimal


@event("orders")
class OrderNoted(Struct):
    order_id: Key[int]
    note: str | None = None
    tags: list[str] = field(default_factory=list[str])


@event(
    topic="orders",
    version=2,
    name="order.paid",
    kind=EventKind.STATE_TRANSFER,
    owner="team-payments",
    description="An order was paid.",
    personal=["payer"],
    examples=[{"order_id": "7c9e6679-7425-40de-944b-e07fc1f90ae7", "payer": "Å", "total": "9.99"}],
)
@dataclass(frozen=True)
class OrderPaid:
    order_id: Key[UUID]
    payer: str
    total: Decimal


@event(topic="orders")
class OrderShipped(BaseModel):
    order_id: Key[str]
    region: Region = Region.EU
    weight: Decimal = Field(default=Decimal(1), gt=0)


@event(topic="orders")
class RegionClosed(Struct, frozen=True):
    region: Key[Region]


placed = OrderPlaced(order_id="1", total=Decimal(1))
assert_type(placed, OrderPlaced)
assert_type(placed.order_id, str)
assert_type(OrderPlaced("1", Decimal(1)).total, Decimal)
assert_type(OrderNoted(order_id=1).order_id, int)
assert_type(OrderPaid(UUID(int=1), "Å", Decimal(1)).order_id, UUID)
assert_type(OrderShipped(order_id="1").order_id, str)
assert_type(RegionClosed(Region.EU).region, Region)


def describe(order: OrderPlaced | OrderPaid) -> str:
    match order:
        case OrderPlaced(order_id=order_id):
            return order_id.upper()
        case OrderPaid(payer=payer):
            return payer
