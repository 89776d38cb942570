"""Promises about time: who comes later, or was away, ends where everyone else is."""

from __future__ import annotations

import pytest

from antiphon.brokers.ports import Broker, Start, TopicSpec
from antiphon.errors import PositionLostError
from antiphon.runtime.service import Service
from antiphon.storage.database import Transaction
from antiphon.testing.scenarios.suite import OrderPlaced, PaymentTaken, PriceSet, RuntimeSuite, orders

KEEP = "insert into ledger values (?, ?)"


class ReplayScenarios(RuntimeSuite):
    """Consumers are decoupled in time."""

    def _counting(self, name: str) -> Service:
        service = self.service(name)

        @service.on(OrderPlaced)
        async def count(order: OrderPlaced, tx: Transaction) -> PaymentTaken:
            await tx.execute(KEEP, f"{name} {order.order_id}", order.number)
            return PaymentTaken(order.order_id, order.number)

        return service

    async def _model(self, broker: Broker, name: str) -> list[tuple[str, int]]:
        """The read model of one service: orders and their numbers, in order within each."""
        rows = await self.store(broker).fetch(
            "select order_id, number from ledger where order_id like ? order by order_id, rowid",
            f"{name} %",
            row=tuple[str, int],
        )
        return [(order_id.removeprefix(f"{name} "), number) for order_id, number in rows]

    async def test_a_consumer_that_was_away_for_the_whole_run_catches_up(self, broker: Broker) -> None:
        present, absent = self._counting("present"), self._counting("absent")
        async with self.running(broker, absent):
            await self.settled(absent)
        async with self.running(broker, present):
            for _ in range(3):
                await self.place(broker, *orders(50, keys=5))
            await self.settled(present)
        assert await self._model(broker, "absent") == []
        async with self.running(broker, absent):
            await self.settled(absent)
        assert await self._model(broker, "absent") == await self._model(broker, "present")
        assert len(await self._model(broker, "absent")) == 150

    async def test_a_consumer_added_later_replays_from_the_start_and_ends_equal(self, broker: Broker) -> None:
        if not broker.capabilities.replay:
            assert broker.capabilities.model == "queue"  # a queue keeps nothing for who is not there
            return
        first = self._counting("first")
        async with self.running(broker, first):
            await self.place(broker, *orders(100, keys=7))
            await self.settled(first)
            later = self._counting("later")
            async with self.running(broker, later):
                await self.place(broker, *orders(20, keys=7))
                await self.settled(first, later)
        assert await self._model(broker, "later") == await self._model(broker, "first")
        assert len(await self._model(broker, "later")) == 120

    @pytest.mark.parametrize("lost", [Start.STOP, Start.START])
    async def test_who_was_away_for_longer_than_history_is_kept_is_told_or_goes_on(
        self, broker: Broker, lost: Start
    ) -> None:
        if not broker.capabilities.replay:
            assert broker.capabilities.model == "queue"  # it keeps what a group has not settled, however long
            return
        service, seen = Service("payments", lost=lost), list[int]()

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced) -> None:
            seen.append(order.number)

        await broker.ensure_topic(TopicSpec("orders", keep_bytes=500))
        async with self.running(broker, service):
            await self.settled(service)
        await self.place(broker, *orders(200))
        await self.retain(broker)
        async with self.running(broker, service):
            if lost is Start.STOP:
                with pytest.raises(PositionLostError, match="retention deleted everything before"):
                    await self.until(service.wait)
            else:
                await self.settled(service)
                await self.place(broker, OrderPlaced("order-1", 1000))
                await self.until(lambda: 1000 in seen)
        skipped = sum(lag.skipped for lag in await broker.lag("payments"))
        assert skipped > 0 if lost is Start.START else not seen

    async def test_a_replica_is_what_its_source_said_last(self, broker: Broker) -> None:
        early, names = Service("early"), ["tea", "milk", "bread"]
        prices = early.replica(PriceSet)
        async with self.running(broker, early):
            for pence in range(10):
                await self.place(broker, *[PriceSet(name, pence) for name in names])
            await self.settled(early)
            assert [await prices.get(early.store, name) for name in names] == [PriceSet(name, 9) for name in names]
            assert await prices.get(early.store, "salt") is None
