"""Promises about handlers that run at most once: whatever happens in the middle, nothing is begun a second time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from antiphon.brokers.ports import Broker
from antiphon.deadletters.redrive import Pace, start_redrive
from antiphon.errors import DeclarationError, GuaranteeError
from antiphon.events.message import Message
from antiphon.runtime.service import Service
from antiphon.storage.dead_letters import find
from antiphon.storage.letter_query import LetterQuery
from antiphon.testing.scenarios.committing import Watched
from antiphon.testing.scenarios.suite import OrderPlaced, PaymentTaken, in_order, orders
from antiphon.testing.scenarios.ways import SOON, FailureSuite, Trying, declare, keeps_order

SHORT = timedelta(milliseconds=50)
OF_PAYMENTS = LetterQuery(group="payments")
FIRST_WAYS = ("direct", "message", "plain", "batch")


class SettlingFirstScenarios(FailureSuite):
    """`on(..., settle="first")`."""

    @pytest.mark.parametrize("way", FIRST_WAYS)
    async def test_each_message_runs_once_and_in_order(self, broker: Broker, way: str) -> None:
        service, work, witness = self.paying(SOON), Trying([], self.now), await self.listen(broker)
        declare(service, way, work, settle="first")
        async with self.running(broker, service):
            await self.place(broker, *orders(250, keys=5))
            await self.settled(service)
        assert sorted(work.attempts) == list(range(250))
        assert all(
            (of_key := [number for number in work.done if number % 5 == key]) == sorted(of_key) for key in range(5)
        )
        await self.heard(witness, 250)

    @pytest.mark.parametrize("given", ["message", "event"])
    async def test_what_is_cut_off_in_the_middle_never_runs_again(self, broker: Broker, given: str) -> None:
        service, began = self.paying(SOON), list[int]()
        _declare_hanging(service, began, asyncio.Event(), with_message=given == "message")
        async with self.running(broker, service, drain=SHORT):
            await self.place(broker, OrderPlaced("order-0"))
            await self.until(lambda: began)
        async with self.running(broker, service):
            await self.place(broker, OrderPlaced("order-1", 1))
            await self.until(lambda: 1 in began)
        assert began == [0, 1]
        assert await self.aside(broker) == {}

    async def test_who_takes_over_from_a_process_that_hangs_does_not_run_it_again(self, broker: Broker) -> None:
        stages, began, held = (Watched(broker), Watched(broker)), list[int](), asyncio.Event()
        members = self.paying(SOON), self.paying(SOON)
        for member in members:
            _declare_hanging(member, began, held, with_message=False)
        async with self.running(stages[0], members[0]):
            await self.place(broker, OrderPlaced("order-0"))
            await self.until(lambda: began)
            async with self.running(stages[1], members[1]):
                await self.evict(broker, stages[0].subscriptions[0])
                await self.elapse(SHORT)
                held.set()
                await self.place(broker, OrderPlaced("order-0", 1))
                await self.until(lambda: 1 in began)
                await self.settled(*members)
        assert began == [0, 1]

    @pytest.mark.parametrize("way", FIRST_WAYS)
    async def test_what_fails_is_parked_after_one_attempt_and_can_be_redriven(self, broker: Broker, way: str) -> None:
        service, work = self.paying(SOON), Trying([0], self.now)
        declare(service, way, work, settle="first")
        async with self.running(broker, service):
            await self.place(broker, *orders(3, keys=1))
            await self.settled(service)
        (stored,) = await find(self.store(broker), OF_PAYMENTS, 100)
        assert (work.tries(0), len(stored.letter.attempts)) == (1, 1)
        assert sorted(work.done) == ([] if keeps_order(broker) else [1, 2])
        work.failing.clear()
        await start_redrive(self.store(broker), self.clock(), [stored.number], Pace(spacing=timedelta(0)), "a test")
        async with self.running(broker, service):
            await self.until(lambda: 0 in work.done)
            await self.settled(service)
        assert in_order(broker, work.done) == [0, 1, 2]
        assert sorted(work.attempts) == [0, 0, 1, 2]
        assert await self.aside(broker) == {}

    @pytest.mark.parametrize("way", FIRST_WAYS)
    async def test_a_message_that_comes_twice_runs_once(self, broker: Broker, way: str) -> None:
        service, work = self.paying(SOON), Trying([], self.now)
        declare(service, way, work, settle="first")
        async with self.running(broker, service):
            twin = self.outgoing(OrderPlaced("order-0"))
            await broker.publish([twin, twin])
            await self.settled(service)
            await broker.publish([twin])
            await self.settled(service)
        assert work.attempts == [0]

    async def test_what_was_not_begun_when_it_stopped_runs_later(self, broker: Broker) -> None:
        service, began, held = self.paying(SOON), list[int](), asyncio.Event()
        _declare_hanging(service, began, held, with_message=True)
        async with self.running(broker, service):
            await self.place(broker, *orders(300, keys=1))
            await self.until(lambda: began)
            stopping = asyncio.create_task(service.stop())
            await asyncio.sleep(0.01)
            held.set()
            await stopping
        assert began == [0]
        async with self.running(broker, service):
            await self.settled(service)
        assert in_order(broker, began) == list(range(300))

    async def test_its_guarantee_is_told_and_nothing_above_it_is_promised(self, broker: Broker) -> None:
        service, demanding, unmarked = self.paying(SOON), Service("demanding"), Service("unmarked", inbox=False)

        async def take(order: OrderPlaced) -> None: ...

        service.on(OrderPlaced, settle="first")(take)
        demanding.on(OrderPlaced, settle="first", guarantee="at_least_once")(take)
        unmarked.on(OrderPlaced, settle="first")(take)
        settings = self.settings(broker)
        (told,) = service.describe(broker, settings).handlers
        assert (told.guarantee, told.policy) == ("at_most_once", "park at the first failure")
        with pytest.raises(GuaranteeError, match="demands at_least_once but would get at_most_once"):
            demanding.describe(broker, settings)
        with pytest.raises(DeclarationError, match="inbox=False: leave out one of the two"):
            unmarked.describe(broker, settings)


def _declare_hanging(service: Service, began: list[int], held: asyncio.Event, *, with_message: bool) -> None:
    """Note what began, and hang at the order of number 0 until `held` is set."""

    async def hang(order: OrderPlaced) -> PaymentTaken:
        began.append(order.number)
        if order.number == 0:
            await held.wait()
        return PaymentTaken(order.order_id, order.number)

    if with_message:

        @service.on(OrderPlaced, settle="first")
        async def take_both(order: OrderPlaced, message: Message) -> PaymentTaken:
            return await hang(order)
    else:
        service.on(OrderPlaced, settle="first")(hang)
