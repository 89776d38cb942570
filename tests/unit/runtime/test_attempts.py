"""Whether each failed attempt is kept as it was, and not with the story of those before it."""

from collections.abc import Callable

import pytest

from antiphon import Key, Message, Retry, Service, Struct, Transaction, event
from antiphon.testing import Harness


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


async def alone(order: OrderPlaced) -> None:
    raise ValueError(order.order_id)


async def with_message(order: OrderPlaced, message: Message) -> None:
    raise ValueError(order.order_id)


async def in_transaction(order: OrderPlaced, tx: Transaction) -> None:
    raise ValueError(order.order_id)


def plain(order: OrderPlaced) -> None:
    raise ValueError(order.order_id)


@pytest.mark.parametrize("handler", [alone, with_message, in_transaction, plain], ids=lambda each: each.__name__)
async def test_the_traceback_of_an_attempt_tells_of_that_attempt_alone(handler: Callable[..., None]) -> None:
    service = Service("payments", policy=Retry(delayed=0))
    service.on(OrderPlaced)(handler)
    async with Harness(service, raising=False) as harness:
        await harness.give(OrderPlaced("o-1"))
        (letter,) = harness.dead_letters
    assert [attempt.traceback.count("Traceback (most recent") for attempt in letter.attempts] == [1, 1, 1, 1]


async def test_the_cause_that_a_handler_gives_stays_in_it() -> None:
    service = Service("payments", policy=Retry(delayed=0))

    @service.on(OrderPlaced)
    async def authorise(order: OrderPlaced) -> None:
        try:
            raise KeyError(order.order_id)
        except KeyError as error:
            raise ValueError("no such order") from error

    async with Harness(service, raising=False) as harness:
        await harness.give(OrderPlaced("o-1"))
        (letter,) = harness.dead_letters
    assert all("KeyError: 'o-1'" in attempt.traceback for attempt in letter.attempts)
