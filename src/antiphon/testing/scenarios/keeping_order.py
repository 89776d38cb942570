"""Promises about order after a failure: what follows in its key waits behind it, and nothing else does."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import pytest
from msgspec import Struct
from msgspec.structs import replace

from antiphon.brokers.ports import Broker, Delivery, SeekTo
from antiphon.errors import RejectError
from antiphon.events.declare import Key, event
from antiphon.events.message import Outgoing
from antiphon.resilience import Retry
from antiphon.runtime.claims import claim_of
from antiphon.storage.dead_letters import find
from antiphon.storage.letter_query import LetterQuery
from antiphon.storage.set_aside import AsideState
from antiphon.testing.scenarios.suite import OrderPlaced, PaymentTaken, orders
from antiphon.testing.scenarios.ways import FIRST, PARKING, SOON, WAYS, FailureSuite, Trying, declare, keeps_order


@event(topic="orders")
class OrderCanceled(Struct, frozen=True):
    """A customer took an order back; of the topic and the key that the order has."""

    order_id: Key[str]
    number: int = 0


class KeptOrderScenarios(FailureSuite):
    """Where the broker keeps no order of keys nobody waits, and `describe` says so."""

    @pytest.mark.parametrize("way", WAYS)
    async def test_what_follows_what_is_tried_later_waits_behind_it(self, broker: Broker, way: str) -> None:
        service, work = self.paying(SOON), Trying([0], self.now)
        declare(service, way, work)
        async with self.running(broker, service):
            await self.place(broker, *orders(8, keys=2))
            await self.until(lambda: work.tries(0) > 2 and {1, 3, 5, 7} <= set(work.done))
            await self.place(broker, OrderPlaced("order-0", 8), OrderPlaced("order-1", 9))
            await self.until(lambda: 9 in work.done)
            await self.until(lambda: self.is_read(broker))
            early = {2, 4, 6, 8} & set(work.done)
            assert early == (set[int]() if keeps_order(broker) else {2, 4, 6, 8})
            work.failing.clear()
            await self.until(lambda: {0, 8} <= set(work.done))
            await self.settled(service)
        assert _of(work.done, 0, 2, 4, 6, 8) == ([0, 2, 4, 6, 8] if keeps_order(broker) else [2, 4, 6, 8, 0])
        assert _of(work.done, 1, 3, 5, 7, 9) == [1, 3, 5, 7, 9]
        assert await self.aside(broker) == {}

    @pytest.mark.parametrize("way", WAYS)
    async def test_what_follows_what_is_parked_waits_behind_it_over_a_restart(self, broker: Broker, way: str) -> None:
        work = Trying([0], self.now)
        for round in range(3):
            service = self.paying(PARKING)
            declare(service, way, work)
            async with self.running(broker, service):
                await self.place(broker, OrderPlaced("order-0", 2 * round), OrderPlaced("order-1", 2 * round + 1))
                await self.settled(service)
        assert work.done == ([1, 3, 5] if keeps_order(broker) else work.done)
        assert sorted(work.done) == ([1, 3, 5] if keeps_order(broker) else [1, 2, 3, 4, 5])
        assert await self.aside(broker) == _parked(broker, behind=2)
        assert await self.unread(broker) == 0

    @pytest.mark.parametrize("key", ["zero\0character", "long" * 1000, "w\u00efde" * 300], ids=["zero", "long", "wide"])
    async def test_keys_and_ids_that_no_index_takes_are_set_aside_and_found_as_others_are(
        self, broker: Broker, key: str
    ) -> None:
        service, work = self.paying(PARKING), Trying([0], self.now)
        declare(service, "own", work)
        placed = [self.outgoing(OrderPlaced(key, number)) for number in range(2)]
        placed = [Outgoing(one.topic, replace(one.message, id=f"{key}{n}")) for n, one in enumerate(placed)]
        async with self.running(broker, service):
            await broker.publish(placed)
            await broker.publish([*placed, self.outgoing(OrderPlaced("order-0", 2))])
            await self.settled(service)
            queries = LetterQuery(key=key), LetterQuery(message=f"{key}0")
            found = [(await find(service.store, query, 10))[0].letter.message for query in queries]
        assert sorted(set(work.done)) == ([2] if keeps_order(broker) else [1, 2])
        assert work.tries(1) == (0 if keeps_order(broker) else 1)
        assert [(one.key, one.id) for one in found] == [(key, f"{key}0")] * 2

    @pytest.mark.parametrize("way", ["direct", "message", "batch"])
    async def test_what_is_read_again_waits_behind_no_dead_letter_that_came_after_it(
        self, broker: Broker, way: str
    ) -> None:
        if not broker.capabilities.replay:
            assert broker.capabilities.model == "queue"  # it says of nothing that it came before
            return
        work = Trying([4], self.now)
        for _ in range(2):
            service = self.paying(PARKING)
            declare(service, way, work)
            async with self.running(broker, service):
                if not work.done:
                    await self.place(broker, *orders(8, keys=2))
                await self.settled(service)
            assert await self.aside(broker) == _parked(broker, behind=1)
            await broker.seek("payments", "orders", SeekTo.START)
        assert _of(work.done, 0, 2, 4, 6) == [0, 2, 0, 2]
        assert _of(work.done, 1, 3, 5, 7) == [1, 3, 5, 7, 1, 3, 5, 7]

    @pytest.mark.parametrize("way", ["direct", "shared", "own"])
    async def test_who_takes_a_partition_over_keeps_what_waits_in_line(self, broker: Broker, way: str) -> None:
        work = Trying([0], self.now)
        members = [self.paying(SOON) for _ in range(3)]
        for member in members:
            declare(member, way, work)
        first, second, third = members
        async with self.running(broker, first):
            await self.place(broker, *orders(2, keys=1))
            await self.until(work.made(2))
            async with self.running(broker, second):
                await self.place(broker, OrderPlaced("order-0", 2))
                await self.until(lambda: self.is_read(broker))
                await first.stop()
                await self.place(broker, OrderPlaced("order-0", 3))
                await self.until(lambda: self.is_read(broker))
                async with self.running(broker, third):
                    await second.stop()
                    await self.place(broker, OrderPlaced("order-0", 4))
                    await self.until(lambda: self.is_read(broker))
                    assert sorted(work.done) == ([] if keeps_order(broker) else [1, 2, 3, 4])
                    work.failing.clear()
                    await self.until(lambda: {0, 4} <= set(work.done))
        assert sorted(work.done) == [0, 1, 2, 3, 4]
        assert not keeps_order(broker) or work.done == [0, 1, 2, 3, 4]

    @pytest.mark.parametrize("policy", [SOON, PARKING], ids=["delayed", "parked"])
    @pytest.mark.parametrize("way", WAYS)
    async def test_who_gives_up_order_lets_what_follows_pass(self, broker: Broker, way: str, policy: Retry) -> None:
        service, work = self.paying(policy), Trying([0], self.now)
        declare(service, way, work, order=None)
        async with self.running(broker, service):
            await self.place(broker, *orders(4, keys=1))
            await self.until(lambda: {1, 2, 3} <= set(work.done))
            await self.place(broker, OrderPlaced("order-0", 4))
            await self.until(lambda: 4 in work.done)
        assert sorted(work.done) == [1, 2, 3, 4]

    async def test_handlers_of_one_topic_wait_for_each_other(self, broker: Broker) -> None:
        service, work, canceled = self.paying(SOON), Trying([0], self.now), list[int]()
        declare(service, "shared", work)

        @service.on(OrderCanceled)
        async def cancel(order: OrderCanceled) -> None:
            canceled.append(order.number)

        async with self.running(broker, service):
            await self.place(broker, OrderPlaced("order-0"), OrderCanceled("order-0", 1), OrderCanceled("order-1", 2))
            await self.until(lambda: work.tries(0) > 2 and 2 in canceled)
            await self.until(lambda: self.is_read(broker))
            assert sorted(canceled) == ([2] if keeps_order(broker) else [1, 2])
            work.failing.clear()
            await self.until(lambda: work.done == [0] and 1 in canceled)

    async def test_the_same_key_on_another_topic_does_not_wait(self, broker: Broker) -> None:
        service, work, paid = self.paying(PARKING), Trying([0], self.now), list[int]()
        declare(service, "direct", work)

        @service.on(PaymentTaken)
        async def note(payment: PaymentTaken) -> None:
            paid.append(payment.number)

        async with self.running(broker, service):
            await self.place(broker, OrderPlaced("order-0"), OrderPlaced("order-0", 1))
            await self.settled(service)
            await self.place(broker, PaymentTaken("order-0", 7))
            await self.settled(service)
        assert paid == ([7] if keeps_order(broker) else [1, 7])

    @pytest.mark.parametrize("way", WAYS)
    async def test_a_follower_that_fails_in_turn_keeps_its_own_followers(self, broker: Broker, way: str) -> None:
        service, work = self.paying(SOON), Trying([0, 2], self.now)
        declare(service, way, work)
        async with self.running(broker, service):
            await self.place(broker, *orders(5, keys=1))
            await self.until(lambda: work.tries(0) > 2)
            await self.until(lambda: self.is_read(broker))
            work.failing.discard(0)
            tries = work.tries(2)
            await self.until(lambda: {0, 1} <= set(work.done) and work.tries(2) > tries + 2)
            assert sorted(work.done) == ([0, 1] if keeps_order(broker) else [0, 1, 3, 4])
            work.failing.clear()
            await self.until(lambda: len(work.done) == 5)
            await self.settled(service)
        assert sorted(work.done) == [0, 1, 2, 3, 4]
        assert not keeps_order(broker) or work.done == [0, 1, 2, 3, 4]
        assert await self.aside(broker) == {}

    @pytest.mark.parametrize("way", WAYS)
    async def test_a_follower_that_is_parked_in_turn_keeps_its_own_followers(self, broker: Broker, way: str) -> None:
        later = Retry(immediate=0, delayed=1000, first_delay=FIRST, factor=1, permanent=(RejectError,))
        service, work, bad = self.paying(later), Trying([0], self.now), Trying([1], self.now, RejectError)

        def both(found: Iterable[OrderPlaced]) -> None:
            bad([order for order in found if order.number == 1])
            work(list(found))

        declare(service, way, both)
        async with self.running(broker, service):
            await self.place(broker, *orders(4, keys=1))
            await self.until(lambda: work.tries(0) > 2)
            work.failing.clear()
            await self.until(lambda: 0 in work.done)
            await self.until(lambda: self.parked(broker))
            await self.settled(service)
        assert work.done == ([0] if keeps_order(broker) else [2, 3, 0])
        assert await self.aside(broker) == _parked(broker, behind=2)

    async def test_once_its_line_is_worked_off_a_key_is_handled_directly_again(self, broker: Broker) -> None:
        service, failing, direct = self.paying(SOON), {0}, dict[int, bool]()

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced, delivery: Delivery) -> None:
            if order.number in failing:
                raise ConnectionError("not yet")
            direct[order.number] = claim_of(delivery) is None

        async with self.running(broker, service):
            await self.place(broker, *orders(3, keys=1))
            await self.until(lambda: self.is_read(broker))
            failing.clear()
            await self.until(lambda: len(direct) == 3)
            await self.settled(service)
            assert direct == {0: False, 1: not keeps_order(broker), 2: not keeps_order(broker)}
            async with self.in_time():
                while not direct[len(direct) - 1]:  # that nothing is left in the store may take a moment to be known
                    await self.elapse(5 * FIRST)
                    await self.place(broker, OrderPlaced("order-0", len(direct)))
                    await self.settled(service)

    @pytest.mark.parametrize("seed", range(2))
    @pytest.mark.parametrize("way", WAYS)
    async def test_however_often_they_fail_the_messages_of_a_key_are_handled_in_order(
        self, broker: Broker, way: str, seed: int
    ) -> None:
        random, done = Random(seed), list[int]()
        members = [self.paying(SOON) for _ in range(2)]

        def take(found: Iterable[OrderPlaced]) -> None:
            numbers = [order.number for order in found]
            if random.random() < 0.2:
                raise ConnectionError("by chance")
            done.extend(numbers)

        for member in members:
            declare(member, way, take)
        async with self.running(broker, *members):
            for start in range(0, 120, 20):
                await self.place(broker, *orders(120, keys=6)[start : start + 20])
            await self.until(lambda: len(set(done)) == 120)
            await self.settled(*members)
        first = list(dict.fromkeys(done))
        assert not keeps_order(broker) or all(
            (of_key := [number for number in first if number % 6 == key]) == sorted(of_key) for key in range(6)
        )
        assert await self.aside(broker) == {}

    async def test_describe_says_whether_order_is_kept(self, broker: Broker) -> None:
        service = self.paying(SOON)

        @service.on(OrderPlaced)
        async def kept(order: OrderPlaced) -> None: ...

        @service.on(OrderCanceled, order=None)
        async def given_up(order: OrderCanceled) -> None: ...

        told = [handler.order for handler in service.describe(broker, self.settings(broker)).handlers]
        by_key = "by key: what follows a failed message of its key waits behind it"
        not_kept = "not kept: this broker does not keep the order of a key"
        assert told == [
            by_key if keeps_order(broker) else not_kept,
            "given up: nothing waits behind a failed message of its key",
        ]


def _parked(broker: Broker, behind: int) -> dict[AsideState, int]:
    """One parked message, and what waits behind it where order is kept."""
    return {AsideState.BEHIND: behind, AsideState.PARKED: 1} if keeps_order(broker) else {AsideState.PARKED: 1}


def _of(done: Iterable[int], *numbers: int) -> list[int]:
    """Of what was done only these, in the order in which it was."""
    return [number for number in done if number in numbers]
