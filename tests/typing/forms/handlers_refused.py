"""Handlers that both type checkers refuse."""

from __future__ import annotations

from antiphon import Asker, Key, Service, Struct, event


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


@event(topic="orders")
class OrderCancelled(Struct, frozen=True):
    order_id: Key[str]


service = Service("service")


@service.on(OrderPlaced)  # refused: mypy[arg-type] pyright[reportArgumentType]
async def another_event(order: OrderCancelled) -> None: ...


@service.on(OrderPlaced, OrderCancelled)  # refused: mypy[arg-type] pyright[reportArgumentType]
async def one_of_two(order: OrderPlaced) -> None: ...


@service.on_batch(OrderPlaced)  # refused: mypy[arg-type] pyright[reportArgumentType]
async def one_for_many(order: OrderPlaced) -> None: ...


@service.on(OrderPlaced)  # refused: mypy[arg-type] pyright[reportArgumentType]
async def nothing() -> None: ...


service.on(OrderPlaced, retries=3)  # refused: mypy[call-overload] pyright[reportCallIssue]
service.on(OrderPlaced, newer="ignore")  # refused: mypy[call-overload] pyright[reportArgumentType]


async def publish_vaguely() -> None:
    await service.publish(OrderPlaced("1"), delay=5)  # refused: mypy[arg-type] pyright[reportArgumentType]
    await service.publish_all([OrderPlaced("1")], dealy=None)  # refused: mypy[call-arg] pyright[reportCallIssue]


@service.answers(OrderPlaced)  # refused: mypy[arg-type] pyright[reportArgumentType]
async def answer_another(order: OrderCancelled) -> OrderPlaced:
    return OrderPlaced(order.order_id)


async def ask_vaguely(asker: Asker) -> None:
    await asker.ask(OrderPlaced("1"), OrderCancelled, within=2)  # refused: mypy[arg-type] pyright[reportArgumentType]
    await asker.ask(OrderPlaced("1"), OrderCancelled)  # refused: mypy[call-arg] pyright[reportCallIssue]
