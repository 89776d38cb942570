"""Promises about retries: later ones come when they are due, as many as declared, and each error is what it is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest

from antiphon.brokers.ports import Broker, Delivery
from antiphon.errors import DecodeError, RejectError
from antiphon.observability.hooks import Delayed
from antiphon.resilience import Retry
from antiphon.runtime.service import Service
from antiphon.storage.database import Transaction
from antiphon.storage.set_aside import AsideState
from antiphon.testing.scenarios.suite import OrderPlaced, PriceSet, orders
from antiphon.testing.scenarios.ways import FIRST, IN_TRANSACTIONS, SOON, WAYS, FailureSuite, Trying, declare

LATER = Retry(immediate=1, delayed=2, first_delay=FIRST, factor=2, jitter=False)
NEVER = Retry(immediate=0, delayed=1, first_delay=timedelta(hours=1), longest_delay=timedelta(hours=1), jitter=False)
"""Tried again later than any test."""


class RetryScenarios(FailureSuite):
    """Handlers fail, and their policies say what follows."""

    @pytest.mark.parametrize("way", WAYS)
    async def test_a_delayed_retry_comes_after_its_delay_and_the_last_failure_parks(
        self, broker: Broker, way: str
    ) -> None:
        service, work, told = self.paying(LATER), Trying([0], self.now), list[Delayed]()
        declare(service, way, work)
        service.hooks.delayed.watch(told.append)
        async with self.running(broker, service):
            await self.place(broker, OrderPlaced("order-0"))
            await self.until(lambda: self.parked(broker))
            await self.settled(service)
        assert work.attempts == [0] * 4
        assert [(one.attempt, one.delay) for one in told] == [(2, FIRST), (3, 2 * FIRST)]
        _, again, later, last = work.times
        assert later - again >= FIRST
        assert last - later >= 2 * FIRST
        (letter,) = await self.parked(broker)
        assert letter.reason == "ConnectionError"
        assert [attempt.text for attempt in letter.attempts] == ["number 0 fails"] * 4
        assert all("number 0 fails" in attempt.traceback for attempt in letter.attempts)
        assert all(made <= noted.time for made, noted in zip(work.times, letter.attempts, strict=True))
        assert await self.unread(broker) == 0

    @pytest.mark.parametrize("way", WAYS)
    async def test_what_succeeds_at_last_takes_effect_once(self, broker: Broker, way: str) -> None:
        service, work = self.paying(SOON), Trying([1], self.now)
        declare(service, way, work)
        witness = await self.listen(broker)
        async with self.running(broker, service):
            await self.place(broker, *orders(3))
            await self.until(lambda: work.tries(1) > 3)
            work.failing.clear()
            await self.until(lambda: 1 in work.done)
            await self.settled(service)
        # Beside one that fails others may run again, where a transaction cannot keep a part of itself.
        assert set(work.done) == {0, 1, 2}
        assert await self.aside(broker) == {}
        assert sorted(await self.numbers(broker)) == ([0, 1, 2] if way in IN_TRANSACTIONS else [])
        heard = await self.heard(witness, 3)
        assert {message.key for message in heard} == {"order-0", "order-1", "order-2"}

    @pytest.mark.parametrize("way", WAYS)
    async def test_other_keys_flow_while_one_waits_for_its_retry(self, broker: Broker, way: str) -> None:
        service, work = self.paying(NEVER), Trying([0], self.now)
        declare(service, way, work)
        async with self.running(broker, service):
            await self.place(broker, *orders(20))
            await self.settled(service)
            await self.place(broker, *orders(20)[1:])
            await self.settled(service)
        assert set(work.done) == set(range(1, 20))
        assert min(map(work.done.count, range(1, 20))) >= 2
        assert await self.aside(broker) == {AsideState.DELAYED: 1}
        assert await self.unread(broker) == 0

    @pytest.mark.parametrize("way", ["direct", "plain", "shared", "own"])
    async def test_attempts_are_kept_and_counted_over_a_restart(self, broker: Broker, way: str) -> None:
        work = Trying([0], self.now)
        for expected, is_kept in ((1, self.aside), (3, self.parked)):
            service = self.paying(Retry(immediate=0, delayed=2, first_delay=FIRST, jitter=False))
            declare(service, way, work)
            async with self.running(broker, service):
                if not work.attempts:
                    await self.place(broker, OrderPlaced("order-0"))
                await self.until(work.made(expected))
                # What a drain comes between is undone, and counts as no attempt.
                await self.until(partial(is_kept, broker))
        async with self.running(broker, service):
            await self.until(lambda: self.parked(broker))
        assert work.attempts == [0] * 3
        (letter,) = await self.parked(broker)
        assert len(letter.attempts) == 3

    async def test_a_delayed_retry_is_made_by_one_member_of_the_group(self, broker: Broker) -> None:
        work = Trying(range(30), self.now)
        members = [self.paying(Retry(immediate=0, delayed=3, first_delay=FIRST, factor=1)) for _ in range(2)]
        for member in members:
            declare(member, "direct", work)
        async with self.running(broker, *members):
            await self.place(broker, *orders(30))
            await self.until(lambda: self._has_parked(broker, 30))
            await self.settled(*members)
        assert sorted(work.attempts) == sorted([*range(30)] * 4)

    async def test_a_handler_is_told_how_often_its_message_was_tried(self, broker: Broker) -> None:
        service, told = self.paying(Retry(immediate=0, delayed=2, first_delay=FIRST)), list[int]()

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced, delivery: Delivery) -> None:
            told.append(delivery.attempt)
            raise ConnectionError("not yet")

        async with self.running(broker, service):
            await self.place(broker, OrderPlaced("order-0"))
            await self.until(lambda: self.parked(broker))
        assert told == [1, 2, 3]

    async def test_the_time_of_a_policy_ends_its_retries(self, broker: Broker) -> None:
        patient = Retry(immediate=0, delayed=50, first_delay=FIRST, factor=1, jitter=False, within=2.5 * FIRST)
        service, work = self.paying(patient), Trying([0], self.now)
        declare(service, "direct", work)
        async with self.running(broker, service):
            await self.place(broker, OrderPlaced("order-0"))
            await self.until(lambda: self.parked(broker))
        (letter,) = await self.parked(broker)
        assert letter.reason == "time"
        assert 2 <= len(letter.attempts) == len(work.attempts) <= 3

    @pytest.mark.parametrize("way", WAYS)
    async def test_an_ignorable_error_counts_as_done_and_leaves_nothing(self, broker: Broker, way: str) -> None:
        service = self.paying(Retry(immediate=3, delayed=3, ignorable=(LookupError,)))
        work, witness = Trying([0, 2], self.now, KeyError), await self.listen(broker)
        declare(service, way, work)
        async with self.running(broker, service):
            await self.place(broker, *orders(4, keys=1))
            await self.settled(service)
            await self.place(broker, OrderPlaced("order-0", 4))
            await self.settled(service)
        assert sorted(work.done) == [1, 3, 4]
        assert work.tries(0) <= (2 if "batch" in way else 1)
        assert await self.aside(broker) == {}
        assert sorted(await self.numbers(broker)) == ([1, 3, 4] if way in IN_TRANSACTIONS else [])
        await self.heard(witness, 3)
        assert await self.unread(broker) == 0

    @pytest.mark.parametrize("way", WAYS)
    async def test_a_permanent_error_parks_at_once(self, broker: Broker, way: str) -> None:
        service = self.paying(Retry(immediate=3, delayed=3, permanent=(LookupError,)))
        work = Trying([0], self.now, KeyError)
        declare(service, way, work)
        async with self.running(broker, service):
            await self.place(broker, OrderPlaced("order-0"))
            await self.settled(service)
        assert work.attempts == [0]
        assert [len(letter.attempts) for letter in await self.parked(broker)] == [1]
        assert await self.numbers(broker) == []

    @pytest.mark.parametrize(
        ("error", "attempts"),
        [
            (lambda: KeyError("nearest is permanent"), 1),
            (lambda: IndexError("nearest is transient"), 3),
            (lambda: RejectError("listed as transient"), 3),
            (lambda: DecodeError("m-1", "OrderPlaced", 1, 1, "not listed, and hopeless"), 1),
            (lambda: ExceptionGroup("as bad as the worst", [IndexError(), KeyError()]), 1),
            (lambda: ValueError("not listed"), 3),
        ],
    )
    async def test_the_nearest_listed_class_of_an_error_counts(
        self, broker: Broker, error: Callable[[], Exception], attempts: int
    ) -> None:
        service = self.paying(
            Retry(immediate=2, delayed=0, transient=(LookupError, RejectError), permanent=(KeyError,))
        )

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced) -> None:
            raise error()

        async with self.running(broker, service):
            await self.place(broker, OrderPlaced("order-0"))
            await self.settled(service)
        assert [len(letter.attempts) for letter in await self.parked(broker)] == [attempts]

    async def test_the_policy_of_a_handler_counts_more_than_that_of_its_event_and_that_more_than_the_services(
        self, broker: Broker
    ) -> None:
        none = Retry(immediate=0, delayed=0)
        policies: dict[type, Retry] = {
            OrderPlaced: Retry(immediate=1, delayed=0),
            PriceSet: Retry(immediate=2, delayed=0),
        }
        first = Service("first", policy=none, policies={OrderPlaced: policies[OrderPlaced]})
        second, third = Service("second", policy=none, policies=policies), Service("third", policy=none)

        @first.on(OrderPlaced, policy=Retry(immediate=3, delayed=0))
        async def own(order: OrderPlaced) -> None:
            raise ValueError

        @second.on(OrderPlaced, PriceSet)
        async def by_event(event: OrderPlaced | PriceSet) -> None:
            raise ValueError

        @third.on(OrderPlaced)
        async def by_service(order: OrderPlaced) -> None:
            raise ValueError

        async with self.running(broker, first, second, third):
            await self.place(broker, OrderPlaced("order-0"), PriceSet("tea", 1))
            await self.settled(first, second, third)
        found = {(letter.handler, letter.message.type): len(letter.attempts) for letter in await self.parked(broker)}
        assert found == {
            ("own", "OrderPlaced"): 4,
            ("by_event", "OrderPlaced"): 2,
            ("by_event", "PriceSet"): 3,
            ("by_service", "OrderPlaced"): 1,
        }

    async def test_whatever_fails_once_comes_back_and_nothing_is_lost(self, broker: Broker) -> None:
        """More at once than are in hand of what was set aside."""
        service, failed = self.paying(Retry(immediate=0, delayed=1, first_delay=FIRST)), set[int]()

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced, tx: Transaction) -> None:
            await tx.execute("insert into ledger values (?, ?)", order.order_id, order.number)
            if order.number not in failed:
                failed.add(order.number)
                raise ConnectionError("not yet")

        async with self.running(broker, service):
            await self.place(broker, *orders(700))
            await self.until(lambda: self._has_written(broker, 700))
            await self.settled(service)
        assert sorted(await self.numbers(broker)) == list(range(700))
        assert await self.aside(broker) == {}

    async def _has_written(self, broker: Broker, count: int) -> bool:
        return len(await self.numbers(broker)) == count

    async def _has_parked(self, broker: Broker, count: int) -> bool:
        return (await self.aside(broker)).get(AsideState.PARKED) == count
