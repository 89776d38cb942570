"""Services of every shape, to be simulated: how they are run is what they differ in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from random import Random

from antiphon import Key, Service, Struct, Transaction, event
from antiphon.resilience import Breaker, RateLimit, Retry


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    """A customer placed an order."""

    order_id: Key[str]
    number: int = 0


@event(topic="payments")
class PaymentTaken(Struct, frozen=True):
    """What an order costs was paid."""

    order_id: Key[str]
    number: int = 0


POLICY = Retry(immediate=1, delayed=2, first_delay=timedelta(seconds=1), ignorable=(LookupError,))
IN_TIME = Retry(immediate=1, delayed=4, first_delay=timedelta(seconds=1), within=timedelta(seconds=10), jitter=False)


def placed(random: Random) -> Sequence[OrderPlaced]:
    """Some orders of few customers, so that keys meet."""
    return [OrderPlaced(f"order-{random.randrange(5)}", random.randrange(1000)) for _ in range(random.randint(1, 4))]


def awaiting() -> Sequence[Service]:
    """Handlers without a transaction: one that takes nothing but its event, and one that yields."""
    payments, letters = Service("payments", policy=POLICY), Service("letters", policy=POLICY)

    @payments.on(OrderPlaced)
    async def take(order: OrderPlaced) -> AsyncIterator[PaymentTaken]:
        yield PaymentTaken(order.order_id, order.number)

    @letters.on(PaymentTaken)
    async def thank(payment: PaymentTaken) -> None: ...

    return [payments, letters]


def sharing() -> Sequence[Service]:
    """Handlers in a shared transaction."""
    payments, letters = Service("payments", policy=POLICY), Service("letters", policy=IN_TIME)

    @payments.on(OrderPlaced)
    async def take(order: OrderPlaced, tx: Transaction) -> PaymentTaken:
        return PaymentTaken(order.order_id, order.number)

    @letters.on(PaymentTaken)
    async def thank(payment: PaymentTaken, tx: Transaction) -> None: ...

    return [payments, letters]


def owning() -> Sequence[Service]:
    """A handler with a transaction of its own."""
    payments = Service("payments", policy=POLICY)

    @payments.on(OrderPlaced, transaction="own")
    async def take(order: OrderPlaced, tx: Transaction) -> PaymentTaken:
        return PaymentTaken(order.order_id, order.number)

    return [payments]


def batching() -> Sequence[Service]:
    """Batch handlers, with a transaction and without."""
    payments, letters = Service("payments", policy=POLICY), Service("letters", policy=POLICY)

    @payments.on_batch(OrderPlaced, size=3)
    async def take(orders: list[OrderPlaced]) -> list[PaymentTaken]:
        return [PaymentTaken(order.order_id, order.number) for order in orders]

    @letters.on_batch(OrderPlaced, size=3, wait=timedelta(milliseconds=300))
    async def thank(orders: list[OrderPlaced], tx: Transaction) -> None: ...

    return [payments, letters]


def threading() -> Sequence[Service]:
    """Plain functions."""
    payments = Service("payments", policy=POLICY)

    @payments.on(OrderPlaced)
    def take(order: OrderPlaced) -> Iterator[PaymentTaken]:
        yield PaymentTaken(order.order_id, order.number)

    return [payments]


def settling_first() -> Sequence[Service]:
    """A handler that runs at most once."""
    payments = Service("payments")

    @payments.on(OrderPlaced, settle="first")
    async def take(order: OrderPlaced) -> None: ...

    return [payments]


def stopping() -> Sequence[Service]:
    """Handlers behind a breaker and a rate limit."""
    breaker = Breaker(least=3, window=timedelta(seconds=20), rest=timedelta(seconds=8), trials=2)
    payments = Service("payments", policy=POLICY, breaker=breaker, limit=RateLimit(messages=5, burst=3))

    @payments.on(OrderPlaced)
    async def take(order: OrderPlaced, tx: Transaction) -> PaymentTaken:
        return PaymentTaken(order.order_id, order.number)

    @payments.on(PaymentTaken)
    async def thank(payment: PaymentTaken) -> None: ...

    return [payments]


def unordered() -> Sequence[Service]:
    """Handlers that give up order."""
    payments = Service("payments", policy=POLICY)

    @payments.on(OrderPlaced, order=None)
    async def take(order: OrderPlaced, tx: Transaction) -> PaymentTaken:
        return PaymentTaken(order.order_id, order.number)

    @payments.on(PaymentTaken, order=None)
    async def thank(payment: PaymentTaken) -> None: ...

    return [payments]


SHAPES: Mapping[str, Callable[[], Sequence[Service]]] = {
    made.__name__: made
    for made in (awaiting, sharing, owning, batching, threading, settling_first, stopping, unordered)
}
