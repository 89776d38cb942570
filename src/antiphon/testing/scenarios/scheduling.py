"""Promises about what is published later: not before its time, in order, once, and not when it was taken back."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
import pytest

from antiphon.brokers.ports import Broker
from antiphon.errors import UsageError
from antiphon.events.message import Message
from antiphon.resilience.policy import AT_ONCE
from antiphon.runtime.publisher import Publisher
from antiphon.runtime.service import Service
from antiphon.storage.database import Transaction
from antiphon.testing.scenarios.committing import Strict
from antiphon.testing.scenarios.suite import OrderPlaced, PaymentTaken, RuntimeSuite, in_order

SOON, LATER = timedelta(milliseconds=200), timedelta(hours=1)
WRITE = "insert into ledger values (?, ?)"


class SchedulingScenarios(RuntimeSuite):
    """For brokers on which services run; the schedule is in the services' store."""

    async def test_what_is_scheduled_comes_at_its_time_and_once(self, broker: Broker) -> None:
        service, witness = self.service(), await self.listen(broker)
        async with self.running(broker, service):
            due = self.now() + SOON
            id = await service.publish(PaymentTaken("order-1"), at=due)
            (waiting,) = await service.scheduled()
            (message,) = await self.heard(witness, 1)
            assert self.now() >= due == waiting.at
            assert message.id == waiting.id == id
            assert message.time < due
            assert await service.scheduled() == []

    async def test_what_becomes_due_together_keeps_the_order_of_its_key(self, broker: Broker) -> None:
        service, witness = self.service(), await self.listen(broker)
        async with self.running(broker, service):
            due = self.now() + SOON
            for first in range(0, 50, 10):
                await service.publish_all([PaymentTaken(f"order-{n % 2}", n) for n in range(first, first + 10)], at=due)
            messages = await self.heard(witness, 50)
        assert len({message.id for message in messages}) == 50
        for key in ("order-0", "order-1"):
            numbers = [_number(message) for message in messages if message.key == key]
            assert in_order(broker, numbers) == sorted(numbers)

    async def test_what_was_taken_back_is_never_published(self, broker: Broker) -> None:
        service, witness = self.service(), await self.listen(broker)
        async with self.running(broker, service):
            kept, taken = await service.publish_all([PaymentTaken("kept"), PaymentTaken("taken")], delay=SOON)
            assert await service.cancel(taken)
            assert not await service.cancel(taken)
            (message,) = await self.heard(witness, 1)
            assert message.id == kept
            assert not await service.cancel(kept)

    async def test_what_a_stopped_service_scheduled_is_published_after_its_next_start(self, broker: Broker) -> None:
        service, witness = self.service(), await self.listen(broker)
        async with self.running(broker, service):
            await service.publish(PaymentTaken("order-1"), delay=SOON)
        await self.assert_silent(witness)
        async with self.running(broker, service):
            await self.heard(witness, 1)

    async def test_any_service_on_the_store_publishes_what_is_due(self, broker: Broker) -> None:
        service, other, witness = self.service(), Service("other"), await self.listen(broker)
        async with self.running(broker, service):
            await service.publish(PaymentTaken("order-1"), delay=SOON)
        async with self.running(broker, other):
            await self.heard(witness, 1)

    @pytest.mark.parametrize("own", [False, True])
    async def test_what_a_handler_schedules_is_part_of_its_transaction(self, broker: Broker, own: bool) -> None:
        service, witness = self.service(), await self.listen(broker)

        @service.on(
            OrderPlaced, publishes=(PaymentTaken,), transaction="own" if own else "shared", policy=AT_ONCE, order=None
        )
        async def take(order: OrderPlaced, tx: Transaction, publisher: Publisher) -> None:
            await tx.execute(WRITE, order.order_id, order.number)
            await publisher.publish(PaymentTaken(order.order_id), delay=SOON)
            if order.number == 1:
                raise ValueError("after both")

        async with self.running(broker, service):
            await self.place(broker, *[OrderPlaced(f"order-{n}", n) for n in range(3)])
            messages = await self.heard(witness, 2)
        assert {message.key for message in messages} == {"order-0", "order-2"}
        assert sorted(await self.ledger(broker)) == ["order-0", "order-2"]

    async def test_a_handler_without_a_transaction_that_runs_twice_schedules_once(self, broker: Broker) -> None:
        service, witness, ids = self.service(), await self.listen(broker), list[str]()

        @service.on(OrderPlaced, publishes=(PaymentTaken,))
        async def take(order: OrderPlaced, publisher: Publisher) -> None:
            ids.append(await publisher.publish(PaymentTaken(order.order_id), delay=SOON))
            if len(ids) == 1:
                raise ValueError("after it")

        async with self.running(broker, service):
            await self.place(broker, OrderPlaced("order-1"))
            (message,) = await self.heard(witness, 1)
        assert ids == [message.id] * 2

    async def test_a_handler_takes_back_in_its_transaction_what_another_scheduled(self, broker: Broker) -> None:
        service = self.service()

        @service.on(OrderPlaced)
        async def forget(order: OrderPlaced, tx: Transaction) -> None:
            assert await service.cancel(order.order_id, tx)

        async with self.running(broker, service):
            id = await service.publish(PaymentTaken("order-1"), delay=LATER)
            await self.place(broker, OrderPlaced(id))
            await self.settled(service)
            assert await service.scheduled() == []

    async def test_what_the_broker_refuses_is_kept_with_its_reason_and_in_nobodys_way(self, broker: Broker) -> None:
        service, witness = self.service(), await self.listen(broker)
        async with self.running(Strict(broker), service):
            await service.publish_all([PaymentTaken("order-1", number) for number in range(5)], delay=SOON)
            messages = await self.heard(witness, 4)
            (kept,) = await service.scheduled()
        assert in_order(broker, [_number(message) for message in messages]) == [0, 1, 3, 4]
        assert kept.failure == "too large"

    async def test_a_deadline_travels_with_what_is_published_later(self, broker: Broker) -> None:
        service, witness = self.service(), await self.listen(broker)
        async with self.running(broker, service):
            due = self.now() + SOON
            await service.publish(PaymentTaken("order-1"), at=due, deadline=LATER)
            (message,) = await self.heard(witness, 1)
        assert message.deadline == due + LATER

    async def test_a_time_that_cannot_be_is_refused_and_nothing_is_scheduled(self, broker: Broker) -> None:
        service = self.service()
        async with self.running(broker, service):
            now = self.now()
            await _refused(service, at=now, delay=SOON)
            await _refused(service, delay=-SOON)
            await _refused(service, at=now + LATER, deadline=now + SOON)
            assert await service.scheduled() == []


def _number(message: Message) -> int:
    return msgspec.json.decode(message.data or b"", type=PaymentTaken).number


async def _refused(
    service: Service,
    *,
    at: datetime | None = None,
    delay: timedelta | None = None,
    deadline: datetime | timedelta | None = None,
) -> None:
    with pytest.raises(UsageError, match="publish"):
        await service.publish(PaymentTaken("order-1"), at=at, delay=delay, deadline=deadline)
