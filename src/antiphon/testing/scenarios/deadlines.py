"""Promises about deadlines: what is late is not handled any more, and says so; what is emitted inherits them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from msgspec import structs

from antiphon.brokers.ports import Broker
from antiphon.events.message import Message, Outgoing
from antiphon.resilience import Breaker, Retry
from antiphon.runtime.publisher import Publisher
from antiphon.runtime.service import Service
from antiphon.testing.scenarios.suite import OrderPlaced, PaymentTaken, orders
from antiphon.testing.scenarios.ways import FIRST, SOON, WAYS, FailureSuite, Trying, declare, keeps_order

HOUR = timedelta(hours=1)


class DeadlineScenarios(FailureSuite):
    """Messages say until when they are worth handling."""

    @pytest.mark.parametrize("way", WAYS)
    async def test_what_is_late_is_parked_unhandled_and_the_others_go_on(self, broker: Broker, way: str) -> None:
        service, work = self.paying(SOON), Trying([], self.now)
        declare(service, way, work)
        now = self.now()
        async with self.running(broker, service):
            late = await self._place_until(broker, now - FIRST, OrderPlaced("order-0", 0))
            await self._place_until(broker, now + HOUR, *orders(5)[1:])
            await self.settled(service)
        assert sorted(work.attempts) == [1, 2, 3, 4]
        (letter,) = await self.parked(broker)
        assert (letter.message, letter.reason, letter.attempts) == (late[0], "deadline", ())

    @pytest.mark.parametrize("way", WAYS)
    async def test_no_attempt_begins_after_the_deadline(self, broker: Broker, way: str) -> None:
        service, work = self.paying(SOON), Trying([0], self.now)
        declare(service, way, work)
        async with self.running(broker, service):
            await self.place(broker, OrderPlaced("order-1", 1))
            await self.until(lambda: 1 in work.done)  # it reads by now, and is not late for that
            deadline = self.now() + 10 * FIRST
            await self._place_until(broker, deadline, OrderPlaced("order-0"))
            await self.until(lambda: self.parked(broker))
        (letter,) = await self.parked(broker)
        assert letter.reason == "deadline"
        assert len(letter.attempts) == work.tries(0) >= 1
        assert max(work.times) < deadline + 2 * FIRST  # it was let in before that

    async def test_a_retry_that_would_come_too_late_is_not_waited_for(self, broker: Broker) -> None:
        never = Retry(immediate=0, delayed=1, first_delay=HOUR, longest_delay=HOUR, jitter=False)
        service, work = self.paying(never), Trying([0], self.now)
        declare(service, "direct", work)
        async with self.running(broker, service):
            await self._place_until(broker, self.now() + HOUR / 2, OrderPlaced("order-0"))
            await self.settled(service)
        (letter,) = await self.parked(broker)
        assert (letter.reason, len(letter.attempts)) == ("deadline", 1)

    @pytest.mark.parametrize("way", WAYS)
    async def test_what_becomes_late_behind_another_of_its_key_is_not_handled(self, broker: Broker, way: str) -> None:
        service, work = self.paying(SOON), Trying([0], self.now)
        declare(service, way, work)
        async with self.running(broker, service):
            await self.place(broker, OrderPlaced("order-0", 0))
            await self.until(work.made(1))
            deadline = self.now() + 10 * FIRST
            await self._place_until(broker, deadline, OrderPlaced("order-0", 1))
            await self.elapse(deadline - self.now() + FIRST)
            work.failing.clear()
            await self.until(lambda: 0 in work.done)
            await self.settled(service)
        in_line = keeps_order(broker)
        assert sorted(work.done) == ([0] if in_line else [0, 1])
        assert [letter.reason for letter in await self.parked(broker)] == (["deadline"] if in_line else [])

    @pytest.mark.parametrize("way", ["direct", "plain", "batch", "shared", "own"])
    async def test_what_becomes_late_while_its_topic_is_stopped_is_parked_when_it_goes_on(
        self, broker: Broker, way: str
    ) -> None:
        breaker = Breaker(least=1, rest=4 * FIRST, trials=1)
        service = self.paying(SOON, breaker=breaker)
        work, deadline = Trying([0], self.now), self.now() + 2 * FIRST
        declare(service, way, work)
        async with self.running(broker, service):
            await self.place(broker, OrderPlaced("order-0", 0))
            await self.until(work.made(1))
            await self._place_until(broker, deadline, OrderPlaced("order-1", 1))
            await self.elapse(deadline - self.now())
            work.failing.clear()
            await self.until(lambda: 0 in work.done)
            await self.until(lambda: self.parked(broker))
            await self.settled(service)
        assert work.done == [0]
        assert [letter.reason for letter in await self.parked(broker)] == ["deadline"]

    @pytest.mark.parametrize("way", WAYS)
    async def test_what_is_emitted_inherits_the_deadline(self, broker: Broker, way: str) -> None:
        service, witness, deadline = self.paying(SOON), await self.listen(broker), self.now() + HOUR
        declare(service, way, Trying([], self.now))
        async with self.running(broker, service):
            await self._place_until(broker, deadline, OrderPlaced("order-0"))
            await self.settled(service)
        assert [message.deadline for message in await self.heard(witness, 1)] == [deadline]

    @pytest.mark.parametrize("given", [HOUR, 3 * HOUR])
    async def test_of_two_deadlines_the_earlier_one_holds(self, broker: Broker, given: timedelta) -> None:
        service, witness, deadline = self.paying(SOON), await self.listen(broker), self.now() + 2 * HOUR
        moment = self.now() + given

        @service.on(OrderPlaced, publishes=(PaymentTaken,))
        async def take(order: OrderPlaced, publisher: Publisher) -> None:
            await publisher.publish(PaymentTaken(order.order_id), deadline=moment)

        async with self.running(broker, service):
            await self._place_until(broker, deadline, OrderPlaced("order-0"))
            await self.settled(service)
        assert [message.deadline for message in await self.heard(witness, 1)] == [min(moment, deadline)]

    async def test_a_deadline_goes_on_from_service_to_service(self, broker: Broker) -> None:
        """What an application publishes with a deadline is late two services further on, too."""
        payments, shipping = self.paying(SOON), Service("shipping", policy=SOON)
        shipped = Trying([0], self.now)
        declare(payments, "shared", Trying([], self.now))

        @shipping.on(PaymentTaken)
        async def ship(payment: PaymentTaken) -> None:
            shipped([OrderPlaced(payment.order_id, payment.number)])

        async with self.running(broker, payments, shipping):
            deadline = self.now() + 10 * FIRST
            await payments.publish(OrderPlaced("order-0"), deadline=deadline)
            await self.until(lambda: self.parked(broker))
        (letter,) = await self.parked(broker)
        assert (letter.group, letter.reason, letter.message.deadline) == ("shipping", "deadline", deadline)

    async def _place_until(self, broker: Broker, deadline: datetime, *events: object) -> Sequence[Message]:
        """As `place`, with a deadline."""
        outgoing = [self.outgoing(each) for each in events]
        late = [structs.replace(message, deadline=deadline) for _, message in outgoing]
        await broker.publish([Outgoing(one.topic, message) for one, message in zip(outgoing, late, strict=True)])
        return late
