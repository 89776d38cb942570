"""The ways in which a handler can be declared, and work that fails, so that each promise is tried in all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Unpack

from antiphon.brokers.ports import Broker
from antiphon.events.message import Message
from antiphon.resilience import Breaker, RateLimit, Retry
from antiphon.runtime.options import Options, ServiceOptions
from antiphon.runtime.service import Service
from antiphon.storage.database import Transaction
from antiphon.storage.set_aside import AsideState, counts
from antiphon.testing.scenarios.suite import OrderPlaced, PaymentTaken, RuntimeSuite

WAYS = ("direct", "message", "plain", "batch", "shared", "own", "shared batch")
"""On the short path, with something beside the event, in a thread, as a list, and in each kind of transaction."""
IN_TRANSACTIONS = ("shared", "own", "shared batch")
WRITE = "insert into ledger values (?, ?)"

FIRST = timedelta(milliseconds=20)
PARKING = Retry(immediate=0, delayed=0)
SOON = Retry(immediate=0, delayed=1000, first_delay=FIRST, factor=1, jitter=False)
"""Tried again until the work can be done."""

Work = Callable[[Sequence[OrderPlaced]], None]
"""What a handler does with its orders: one, or those of a batch."""


class Trying:
    """Work that fails on the orders whose numbers are in `failing`, whatever else is in their batch."""

    def __init__(
        self, failing: Iterable[int], now: Callable[[], datetime], error: type[Exception] = ConnectionError
    ) -> None:
        self.failing = set(failing)
        self.error = error
        self.attempts: list[int] = []
        self.times: list[datetime] = []
        """When each of `attempts` was made."""
        self.done: list[int] = []
        self._now = now

    def __call__(self, orders: Sequence[OrderPlaced]) -> None:
        self.attempts += [order.number for order in orders]
        self.times += [self._now()] * len(orders)
        for order in orders:
            if order.number in self.failing:
                raise self.error(f"number {order.number} fails")
        self.done += [order.number for order in orders]

    def made(self, count: int) -> Callable[[], bool]:
        """Whether so many attempts were made, to be asked again and again."""
        return lambda: len(self.attempts) >= count

    def tries(self, number: int) -> int:
        """How often this order was tried."""
        return self.attempts.count(number)


class FailureSuite(RuntimeSuite):
    """Tools for scenarios in which messages are set aside."""

    def paying(self, policy: Retry, breaker: Breaker | None = None, limit: RateLimit | None = None) -> Service:
        """As `service`, with this policy, and what may stop its topics."""
        options: ServiceOptions = {"policy": policy}
        if breaker is not None:
            options["breaker"] = breaker
        if limit is not None:
            options["limit"] = limit
        return Service("payments", migrations="migrations", **options)

    async def aside(self, broker: Broker) -> dict[AsideState, int]:
        """How many messages are set aside for `payments`, by why."""
        found = await counts(self.store(broker), "payments")
        return {state: number for state, number in found.items() if number}

    async def unread(self, broker: Broker) -> int:
        """How many messages the broker holds that are neither handled nor set aside."""
        return sum(lag.messages for lag in await broker.lag("payments"))

    async def is_read(self, broker: Broker) -> bool:
        """Whether the broker holds none of those."""
        return not await self.unread(broker)

    async def numbers(self, broker: Broker) -> list[int]:
        """The numbers of the orders in the ledger, in the order in which they were written."""
        return await self.store(broker).fetch("select number from ledger order by rowid", row=int)


def keeps_order(broker: Broker) -> bool:
    """Whether what follows a failed message of its key waits behind it on this broker."""
    return broker.capabilities.key_order


def of_key(done: Sequence[int], keys: int, key: int) -> list[int]:
    """Of the numbers that were done those of one key, in order."""
    return [number for number in done if number % keys == key]


def declare(service: Service, way: str, work: Work, **options: Unpack[Options]) -> None:
    """Handle orders in this way: write them to the ledger where that can be, work, and emit that they are paid."""
    _DECLARE[way](service, work, options)


def _paid(order: OrderPlaced) -> PaymentTaken:
    return PaymentTaken(order.order_id, order.number)


def _direct(service: Service, work: Work, options: Options) -> None:
    @service.on(OrderPlaced, **options)
    async def take(order: OrderPlaced) -> PaymentTaken:
        work([order])
        return _paid(order)


def _message(service: Service, work: Work, options: Options) -> None:
    @service.on(OrderPlaced, **options)
    async def take(order: OrderPlaced, message: Message) -> PaymentTaken:
        work([order])
        return _paid(order)


def _plain(service: Service, work: Work, options: Options) -> None:
    @service.on(OrderPlaced, **options)
    def take(order: OrderPlaced) -> PaymentTaken:
        work([order])
        return _paid(order)


def _batch(service: Service, work: Work, options: Options) -> None:
    @service.on_batch(OrderPlaced, size=10, **options)
    async def take(orders: list[OrderPlaced]) -> list[PaymentTaken]:
        work(orders)
        return [_paid(order) for order in orders]


def _shared(service: Service, work: Work, options: Options) -> None:
    @service.on(OrderPlaced, **options)
    async def take(order: OrderPlaced, tx: Transaction) -> PaymentTaken:
        await tx.execute(WRITE, order.order_id, order.number)
        work([order])
        return _paid(order)


def _own(service: Service, work: Work, options: Options) -> None:
    _shared(service, work, {**options, "transaction": "own"})


def _shared_batch(service: Service, work: Work, options: Options) -> None:
    @service.on_batch(OrderPlaced, size=10, **options)
    async def take(orders: list[OrderPlaced], tx: Transaction) -> list[PaymentTaken]:
        await tx.execute_many(WRITE, [(order.order_id, order.number) for order in orders])
        work(orders)
        return [_paid(order) for order in orders]


_DECLARE: Mapping[str, Callable[[Service, Work, Options], None]] = {
    "direct": _direct,
    "message": _message,
    "plain": _plain,
    "batch": _batch,
    "shared": _shared,
    "own": _own,
    "shared batch": _shared_batch,
}
