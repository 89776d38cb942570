"""Mistakes with events; each marked line is refused by both type checkers, with the errors that its comment names."""

from dataclasses import dataclass
from decimal import Decimal

from pydantic import BaseModel

from antiphon import Key, Struct, event


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]
    total: Decimal


@event(topic="orders")
@dataclass(frozen=True)
class OrderPaid:
    order_id: Key[str]


@event(topic="orders")
class OrderShipped(BaseModel):
    order_id: Key[str]


def wrong_fields(placed: OrderPlaced) -> int:
    OrderPlaced(order_id=1, total=Decimal(1))  # refused: mypy[arg-type] pyright[reportArgumentType]
    OrderPlaced(order_id="1")  # refused: mypy[call-arg] pyright[reportCallIssue]
    OrderPlaced("1", Decimal(1), note="x")  # refused: mypy[call-arg] pyright[reportCallIssue]
    OrderPaid(order_id=1)  # refused: mypy[arg-type] pyright[reportArgumentType]
    OrderShipped(order_id=1)  # refused: mypy[arg-type] pyright[reportArgumentType]
    placed.order = "2"  # refused: mypy[attr-defined] pyright[reportAttributeAccessIssue]
    placed.total = Decimal(2)  # refused: mypy[misc] pyright[reportAttributeAccessIssue]
    return placed.order_id  # refused: mypy[return-value] pyright[reportReturnType]


@event  # refused: mypy[arg-type] pyright[reportArgumentType]
class WithoutTopic(Struct):
    order_id: Key[str]


@event(topic=7)  # refused: mypy[arg-type] pyright[reportArgumentType]
class NumberedTopic(Struct):
    order_id: Key[str]


@event(topic="orders", version="2")  # refused: mypy[arg-type] pyright[reportArgumentType]
class TextualVersion(Struct):
    order_id: Key[str]


@event(topic="orders", kind="domain")  # refused: mypy[arg-type] pyright[reportArgumentType]
class TextualKind(Struct):
    order_id: Key[str]


@event("a", keys="b")  # refused: mypy[call-arg] pyright[reportCallIssue] pyright[reportUntypedClassDecorator]
class UnknownOption(Struct):
    order_id: str


@event("a", 2)  # refused: mypy[call-arg] pyright[reportCallIssue] pyright[reportUntypedClassDecorator]
class PositionalVersion(Struct):
    order_id: Key[str]


@event(topic="orders")
class TwoKeyTypes(Struct):
    order_id: Key[str, int]  # refused: mypy[type-arg] pyright[reportInvalidTypeForm]
