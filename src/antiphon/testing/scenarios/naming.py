"""Promises about batches whose handler names the items that failed: only those are tried again or parked."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest

from antiphon.brokers.ports import Broker
from antiphon.errors import ItemsFailedError, RejectError
from antiphon.resilience import Breaker, Retry
from antiphon.runtime.service import Service
from antiphon.storage.database import Transaction
from antiphon.testing.scenarios.suite import OrderPlaced, PaymentTaken, orders
from antiphon.testing.scenarios.ways import FIRST, PARKING, SOON, WRITE, FailureSuite

BAD, LATE = 2, 4
"""The number of an order that is rejected, and of one that fails for a while."""


class NamingScenarios(FailureSuite):
    """Batch handlers raise ItemsFailedError."""

    @pytest.mark.parametrize("with_transaction", [False, True])
    async def test_only_the_named_items_of_a_batch_are_tried_again_or_parked(
        self, broker: Broker, with_transaction: bool
    ) -> None:
        service, batches, witness = self.paying(SOON), Batches(), await self.listen(broker)
        batches.declare(service, with_transaction=with_transaction, order=None)
        async with self.running(broker, service):
            await self.place(broker, *orders(6, keys=1))
            await self.until(lambda: batches.calls.count([LATE]) > 2)
            batches.is_late = False
            await self.until(lambda: LATE in batches.done)
            await self.settled(service)
        assert sorted(batches.done) == [0, 1, 3, 4, 5]
        first, *again = [call for call in batches.calls if LATE in call]
        assert len(first) > 1
        assert all(call == [LATE] for call in again)
        assert [call for call in batches.calls if BAD in call] == [first]
        (letter,) = await self.parked(broker)
        assert (letter.reason, [attempt.text for attempt in letter.attempts]) == ("RejectError", ["2 is bad"])
        await self.heard(witness, 5)
        assert sorted(await self.numbers(broker)) == ([0, 1, 3, 4, 5] if with_transaction else [])
        assert await self.unread(broker) == 0

    @pytest.mark.parametrize("with_transaction", [False, True])
    async def test_what_failed_before_is_tried_apart_from_all_others(
        self, broker: Broker, with_transaction: bool
    ) -> None:
        """So that it spoils no batch of theirs, although they are due together."""
        service, batches = self.paying(SOON), Batches(late=range(5))
        batches.declare(service, with_transaction=with_transaction, order=None)
        async with self.running(broker, service):
            await self.place(broker, *orders(5, keys=1))
            await self.until(lambda: batches.calls.count([LATE]) > 2)
            batches.is_late = False
            await self.until(lambda: len(batches.done) == 5)
        assert batches.calls[0] == [0, 1, 2, 3, 4]
        assert all(len(call) == 1 for call in batches.calls[1:])
        assert sorted(batches.done) == [0, 1, 2, 3, 4]

    @pytest.mark.parametrize("places", [{}, {99: ValueError("nobody")}, {-1: ValueError("nobody")}])
    @pytest.mark.parametrize("with_transaction", [False, True])
    async def test_a_batch_that_names_what_it_does_not_have_is_tried_one_by_one(
        self, broker: Broker, with_transaction: bool, places: Mapping[int, Exception]
    ) -> None:
        service, done = self.paying(Retry(immediate=1, delayed=0)), list[int]()

        def check(batch: list[OrderPlaced]) -> None:
            if len(batch) > 1 or batch[0].number == BAD:
                raise ItemsFailedError(places)
            done.append(batch[0].number)

        if with_transaction:

            @service.on_batch(OrderPlaced, size=10, order=None)
            async def write(batch: list[OrderPlaced], tx: Transaction) -> None:
                await tx.execute_many(WRITE, [(order.order_id, order.number) for order in batch])
                check(batch)
        else:

            @service.on_batch(OrderPlaced, size=10, order=None)
            async def take(batch: list[OrderPlaced]) -> None:
                check(batch)

        async with self.running(broker, service):
            await self.place(broker, *orders(5, keys=1))
            await self.settled(service)
        assert sorted(done) == [0, 1, 3, 4]
        assert sorted(await self.numbers(broker)) == ([0, 1, 3, 4] if with_transaction else [])
        (letter,) = await self.parked(broker)
        assert (letter.message.type, letter.reason, len(letter.attempts)) == ("OrderPlaced", "ItemsFailedError", 2)

    async def test_what_a_batch_emits_beside_its_failures_is_checked_like_all_that_is_emitted(
        self, broker: Broker
    ) -> None:
        service, witness = self.paying(Retry(immediate=0, delayed=0)), await self.listen(broker)

        @service.on_batch(OrderPlaced, size=10)
        async def take(batch: list[OrderPlaced]) -> list[PaymentTaken]:
            raise ItemsFailedError({0: RejectError("the first")}, emits=[OrderPlaced("undeclared")])

        async with self.running(broker, service):
            await self.place(broker, *orders(3))
            await self.settled(service)
        reasons = {letter.reason for letter in await self.parked(broker)}
        assert reasons <= {"RejectError", "UndeclaredEventError"}
        assert len(await self.parked(broker)) == 3
        await self.heard(witness, 0)

    @pytest.mark.parametrize("with_transaction", [False, True])
    async def test_named_items_count_against_the_breaker(self, broker: Broker, with_transaction: bool) -> None:
        """Whichever items of the batch they are."""
        service = self.paying(PARKING, breaker=Breaker(least=1, failure_rate=0.2, rest=FIRST, trials=1))
        batches, states = Batches(), list[str]()
        service.hooks.circuit_changed.watch(lambda change: states.append(change.state))
        batches.declare(service, with_transaction=with_transaction, order=None)
        async with self.running(broker, service):
            await self.place(broker, *orders(6, keys=1)[3:])
            await self.until(lambda: states.count("open") > 1)
            batches.is_late = False
            await self.until(lambda: {3, 4, 5} <= set(batches.done))
            await self.settled(service)
        assert states[-1] == "closed"
        assert sorted(batches.done) == [3, 4, 5]
        assert await self.aside(broker) == {}


class Batches:
    """Work on batches that names the items it could not do."""

    def __init__(self, late: Collection[int] = (LATE,)) -> None:
        self.late, self.is_late = late, True
        self.calls: list[list[int]] = []
        self.done: list[int] = []

    def declare(self, service: Service, *, with_transaction: bool, order: None) -> None:
        """Handle batches of up to ten orders: write what can be done, emit that it is paid, and name the others."""
        if with_transaction:

            @service.on_batch(OrderPlaced, size=10, order=order)
            async def write(batch: list[OrderPlaced], tx: Transaction) -> list[PaymentTaken]:
                failed = self._failed(batch)
                good = [order for index, order in enumerate(batch) if index not in failed]
                await tx.execute_many(WRITE, [(order.order_id, order.number) for order in good])
                return self._ended(good, failed)
        else:

            @service.on_batch(OrderPlaced, size=10, order=order)
            async def take(batch: list[OrderPlaced]) -> list[PaymentTaken]:
                failed = self._failed(batch)
                return self._ended([order for index, order in enumerate(batch) if index not in failed], failed)

    def _failed(self, batch: list[OrderPlaced]) -> dict[int, Exception]:
        self.calls.append([order.number for order in batch])
        failed: dict[int, Exception] = {}
        for index, order in enumerate(batch):
            if order.number in self.late and self.is_late:
                failed[index] = ConnectionError(f"{order.number} comes later")
            elif order.number == BAD and BAD not in self.late:
                failed[index] = RejectError(f"{BAD} is bad")
        return failed

    def _ended(self, good: list[OrderPlaced], failed: Mapping[int, Exception]) -> list[PaymentTaken]:
        self.done += [order.number for order in good]
        paid = [PaymentTaken(order.order_id, order.number) for order in good]
        if failed:
            raise ItemsFailedError(failed, emits=paid)
        return paid
