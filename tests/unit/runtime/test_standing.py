"""Lag and dead letters can be seen from outside, by whoever reads the metrics."""

from datetime import timedelta

from antiphon import Key, RejectError, Service, Struct, event
from antiphon.observability import names
from antiphon.testing import Harness


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


async def test_dead_letters_and_lag_are_measured_every_ten_seconds():
    service = Service("payments")

    @service.on(OrderPlaced)
    async def refuse(order: OrderPlaced) -> None:
        raise RejectError("never")

    async with Harness(service, raising=False) as harness:
        await harness.give(OrderPlaced("1"), OrderPlaced("2"))
        assert service.metrics.total(names.DEAD_LETTERS) == 0
        await harness.advance(timedelta(seconds=10))
        readings = {one.name: one for one in service.metrics.snapshot()}
        assert readings["antiphon.dead_letters"].value == 2
        assert readings["antiphon.lag"].value == 0
        assert readings["antiphon.lag"].labels == {
            "service.name": "payments",
            "messaging.destination.name": "orders",
            "messaging.consumer.group.name": "payments",
        }
