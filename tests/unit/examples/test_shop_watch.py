"""The shop is quiet when nothing is under way anywhere, and not only where somebody looks just then."""

from __future__ import annotations

from datetime import timedelta

from antiphon.brokers.ports import Lag, Partition
from examples.shop.watch import Lags


class Broker:
    """One partition, which all services read."""

    def __init__(self) -> None:
        self.end = self.handled = 0

    async def lag(self, group: str) -> list[Lag]:
        where = Partition("payments", 0)
        return [Lag(group, where, str(self.handled), str(self.end), self.end - self.handled, timedelta(), group, 0)]


class Stores:
    """An outbox whose event leaves at the moment that somebody looks into it."""

    def __init__(self, broker: Broker) -> None:
        self.broker, self.waiting = broker, 1

    async def are_at_rest(self) -> bool:
        self.broker.end += self.waiting
        self.waiting = 0
        return True


async def test_an_event_that_leaves_its_outbox_while_somebody_looks_is_waited_for() -> None:
    broker = Broker()
    lags = Lags(broker, Stores(broker))  # type: ignore[arg-type] # all that it asks of them
    assert [await lags.look() for _ in range(3)] == [False, False, False]
    broker.handled = broker.end
    assert [await lags.look() for _ in range(3)] == [False, True, True]
