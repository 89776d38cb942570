"""Promises about time: who comes later, or was away, ends where everyone else is."""

from __future__ import annotations

from antiphon.brokers.ports import Broker
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

    async def test_a_replica_is_what_its_source_said_last(self, broker: Broker) -> None:
        early, names = Service("early"), ["tea", "milk", "bread"]
        prices = early.replica(PriceSet)
        async with self.running(broker, early):
            for pence in range(10):
                await self.place(broker, *[PriceSet(name, pence) for name in names])
            await self.settled(early)
            assert [await prices.get(early.store, name) for name in names] == [PriceSet(name, 9) for name in names]
            assert await prices.get(early.store, "salt") is None
