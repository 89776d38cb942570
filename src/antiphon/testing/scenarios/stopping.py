"""Promises about topics that are stopped: by a breaker or an operator; nothing is lost or counted."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from antiphon.brokers.ports import Broker
from antiphon.errors import RejectError, UsageError
from antiphon.resilience import Breaker, Retry
from antiphon.runtime.service import Service
from antiphon.storage.set_aside import AsideState
from antiphon.testing.scenarios.suite import OrderPlaced, PaymentTaken, orders
from antiphon.testing.scenarios.ways import (
    FIRST,
    IN_TRANSACTIONS,
    PARKING,
    SOON,
    WAYS,
    FailureSuite,
    Trying,
    declare,
    keeps_order,
    of_key,
)

HOUR = timedelta(hours=1)
BREAKER = Breaker(least=5, rest=2 * FIRST, trials=2)
RESTING = Breaker(least=1, rest=HOUR)
"""Opens at the first failure, for longer than any test."""
THREE = Retry(immediate=0, delayed=3, first_delay=FIRST, jitter=False)


class StoppingScenarios(FailureSuite):
    """Membership, partitions and messages stay as they are while a topic is stopped."""

    @pytest.mark.parametrize("way", WAYS)
    async def test_an_outage_of_what_handlers_call_parks_nothing_and_all_is_handled_after_it(
        self, broker: Broker, way: str
    ) -> None:
        service, work = self.paying(THREE, breaker=BREAKER), Trying(range(60), self.now)
        declare(service, way, work)
        states = _states(service)
        async with self.running(broker, service):
            await self.place(broker, *orders(60, keys=6))
            await self.until(lambda: states.count("open") >= 4)
            assert set(await self.aside(broker)) <= {AsideState.DELAYED, AsideState.BEHIND}
            if way in ("direct", "message", "shared"):
                assert len(work.attempts) <= BREAKER.least + BREAKER.trials * states.count("open")
            work.failing.clear()
            await self.until(lambda: set(work.done) == set(range(60)))
            await self.settled(service)
        assert states[-2:] == ["half_open", "closed"]
        assert sorted(work.done) == list(range(60))
        assert not keeps_order(broker) or all(of_key(work.done, 6, key) == list(range(key, 60, 6)) for key in range(6))
        assert await self.aside(broker) == {}
        assert await self.unread(broker) == 0
        assert sorted(await self.numbers(broker)) == (list(range(60)) if way in IN_TRANSACTIONS else [])

    @pytest.mark.parametrize("way", WAYS)
    async def test_while_it_is_open_nothing_is_tried_and_everything_stays(self, broker: Broker, way: str) -> None:
        service, work = self.paying(SOON, breaker=RESTING), Trying(range(30), self.now)
        declare(service, way, work)
        states = _states(service)
        async with self.running(broker, service):
            await self.place(broker, *orders(30, keys=3))
            await self.until(lambda: states == ["open"])
            await self.until(lambda: self._is_still(broker, work))
            await self.until(lambda: self._has_left(broker, 30))
            tried, held, owners = len(work.attempts), await self._left(broker), await self._owners(broker)
            await self.elapse(4 * FIRST)
            assert len(work.attempts) == tried
            assert (await self._left(broker), await self._owners(broker)) == (held, owners)
            assert set(await self.aside(broker)) <= {AsideState.DELAYED, AsideState.BEHIND}
        work.failing.clear()
        async with self.running(broker, service):
            await self.until(lambda: len(work.done) >= 30)
            await self.settled(service)
        assert sorted(work.done) == list(range(30))
        assert not keeps_order(broker) or all(of_key(work.done, 3, key) == list(range(key, 30, 3)) for key in range(3))

    @pytest.mark.parametrize("way", ["direct", "plain", "batch", "shared", "own"])
    async def test_what_opens_a_breaker_or_fails_a_trial_counts_as_no_attempt(self, broker: Broker, way: str) -> None:
        """The one that opened it is tried once more than its policy allows, and not parked for it."""
        service = self.paying(PARKING, breaker=Breaker(least=1, rest=FIRST, trials=1))
        work = Trying([0], self.now)
        declare(service, way, work)
        async with self.running(broker, service):
            await self.place(broker, OrderPlaced("order-0"))
            await self.until(work.made(4))
            work.failing.clear()
            await self.until(lambda: work.done == [0])
            await self.settled(service)
        assert await self.aside(broker) == {}

    async def test_other_topics_flow_while_one_is_stopped(self, broker: Broker) -> None:
        service, work, paid = self.paying(SOON), Trying(range(10), self.now), list[int]()
        declare(service, "direct", work, breaker=RESTING)

        @service.on(PaymentTaken)
        async def note(payment: PaymentTaken) -> None:
            paid.append(payment.number)

        async with self.running(broker, service):
            await self.place(broker, *orders(10))
            await self.until(lambda: self._is_still(broker, work))
            await self.place(broker, *[PaymentTaken(f"order-{number}", number) for number in range(20)])
            await self.until(lambda: len(paid) == 20)
        assert work.done == []

    @pytest.mark.parametrize("error", [RejectError, KeyError, IndexError])
    async def test_faults_of_messages_open_nothing(self, broker: Broker, error: type[Exception]) -> None:
        policy = Retry(immediate=0, delayed=0, permanent=(KeyError,), ignorable=(IndexError,))
        service, work = self.paying(policy, breaker=RESTING), Trying(range(10), self.now, error)
        declare(service, "direct", work)
        states = _states(service)
        async with self.running(broker, service):
            await self.place(broker, *orders(20))
            await self.settled(service)
        assert states == []
        assert sorted(work.done) == list(range(10, 20))

    async def test_slow_calls_open_it_and_are_handled_all_the_same(self, broker: Broker) -> None:
        slow = Breaker(least=2, slow=FIRST, rest=2 * FIRST, trials=1)
        service, done = self.paying(PARKING, breaker=slow), list[int]()
        states, delay = _states(service), 2 * FIRST

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced) -> None:
            await asyncio.sleep(0)
            await self.clock().sleep(delay)
            done.append(order.number)

        async with self.running(broker, service):
            await self.place(broker, *orders(6, keys=1))
            await self.until(lambda: "open" in states)
            delay = timedelta()
            await self.until(lambda: len(done) == 6)
            await self.settled(service)
        assert states[-1] == "closed"
        assert done == list(range(6)) or not keeps_order(broker)
        assert await self.aside(broker) == {}

    @pytest.mark.parametrize("way", WAYS)
    async def test_a_paused_topic_keeps_its_messages_until_it_is_resumed(self, broker: Broker, way: str) -> None:
        service, work, paid = self.paying(PARKING), Trying([], self.now), list[int]()
        declare(service, way, work)

        @service.on(PaymentTaken)
        async def note(payment: PaymentTaken) -> None:
            paid.append(payment.number)

        async with self.running(broker, service):
            await self.place(broker, OrderPlaced("order-0", 0), PaymentTaken("other", 100))
            await self.until(lambda: work.done and paid)
            await self.settled(service)
            await service.pause("orders", reason="a migration")
            await service.pause("orders", reason="twice is safe")
            owners = await self._owners(broker)
            await self.place(broker, *orders(9, keys=3), PaymentTaken("other", 101))
            await self.until(lambda: 101 in paid)
            await self.elapse(2 * FIRST)
            assert work.done == [0]
            assert await self._left(broker) >= 9
            assert await self._owners(broker) == owners
            await service.resume("orders")
            await service.resume("orders")
            await self.until(lambda: len(work.done) == 10)
            await self.settled(service)
        assert not keeps_order(broker) or all(
            of_key(work.done[1:], 3, key) == list(range(key, 9, 3)) for key in range(3)
        )
        assert await self.aside(broker) == {}

    @pytest.mark.parametrize("way", ["direct", "plain", "batch", "shared", "own"])
    async def test_retries_of_a_paused_topic_wait_too(self, broker: Broker, way: str) -> None:
        service, work = self.paying(SOON), Trying([0], self.now)
        declare(service, way, work)
        async with self.running(broker, service):
            await self.place(broker, *orders(3, keys=1))
            await self.until(work.made(3))
            await service.pause(reason="every topic that it reads")
            await self.until(lambda: self._is_still(broker, work))
            work.failing.clear()
            tried = len(work.attempts)
            await self.elapse(4 * FIRST)
            assert len(work.attempts) == tried
            await service.resume()
            await self.until(lambda: {0, 1, 2} <= set(work.done))
            await self.settled(service)
        assert work.done == [0, 1, 2] or not keeps_order(broker)

    async def test_a_pause_outlives_a_restart(self, broker: Broker) -> None:
        service, work = self.paying(PARKING), Trying([], self.now)
        declare(service, "shared", work)
        async with self.running(broker, service):
            await service.pause("orders", reason="until tomorrow")
        async with self.running(broker, service):
            await self.place(broker, *orders(3))
            await self.elapse(2 * FIRST)
            assert work.done == []
            await service.resume("orders")
            await self.until(lambda: len(work.done) == 3)

    async def test_a_topic_that_is_not_read_cannot_be_paused(self, broker: Broker) -> None:
        service = self.paying(PARKING)
        declare(service, "direct", Trying([], self.now))
        async with self.running(broker, service):
            with pytest.raises(UsageError, match="does not read 'payments'; it reads orders"):
                await service.pause("payments")

    async def _left(self, broker: Broker) -> int:
        """How many messages are not handled yet, in the broker or set aside."""
        return await self.unread(broker) + sum((await self.aside(broker)).values())

    async def _has_left(self, broker: Broker, count: int) -> bool:
        """Whether so many are; between the commits of a store and of its broker one may be in both."""
        return await self._left(broker) == count

    async def _owners(self, broker: Broker) -> dict[object, str | None]:
        """Who has which partition."""
        return {lag.partition: lag.owner for lag in await broker.lag("payments") if lag.partition.topic == "orders"}

    async def _is_still(self, broker: Broker, work: Trying) -> bool:
        """Whether nothing is tried any more, for a while."""
        tried, left = len(work.attempts), await self._left(broker)
        await self.elapse(6 * FIRST)  # what was admitted before may wait for a busy store
        return 0 < tried == len(work.attempts) and left == await self._left(broker)


def _states(service: Service) -> list[str]:
    """What becomes of the service's breakers, in order."""
    states = list[str]()
    service.hooks.circuit_changed.watch(lambda change: states.append(change.state))
    return states
