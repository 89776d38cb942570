"""What services schedule comes when the time of a test has come, and is part of what scheduled it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from msgspec import structs

from antiphon import Key, Publisher, Retry, Service, Struct, Transaction, event
from antiphon.errors import ClosedError, UsageError
from antiphon.testing import Harness

HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


@event(topic="orders")
class OrderPaid(Struct, frozen=True):
    order_id: Key[str]


@event(topic="reminders")
class PaymentDue(Struct, frozen=True):
    order_id: Key[str]
    reminder: int = 1


@event(topic="orders")
class OrderCanceled(Struct, frozen=True):
    order_id: Key[str]


def a_service(*, own: bool = False) -> Service:
    """Reminds of an unpaid order after an hour, and cancels it an hour later."""
    service = Service("billing", migrations="reminders")

    @service.on(OrderPlaced, publishes=(PaymentDue,), transaction="own" if own else "shared")
    async def expect(order: OrderPlaced, tx: Transaction, publisher: Publisher) -> None:
        id = await publisher.publish(PaymentDue(order.order_id), delay=HOUR)
        await tx.execute("insert into reminders values (?, ?)", order.order_id, id)

    @service.on(OrderPaid, transaction="own" if own else "shared")
    async def paid(order: OrderPaid, tx: Transaction) -> None:
        (id,) = await tx.fetch("select id from reminders where order_id = ?", order.order_id, row=str)
        assert await service.cancel(id, tx)

    @service.on(PaymentDue, publishes=(PaymentDue, OrderCanceled))
    async def remind(due: PaymentDue, publisher: Publisher) -> None:
        if due.reminder == 2:
            await publisher.publish(OrderCanceled(due.order_id))
        else:
            await publisher.publish(PaymentDue(due.order_id, 2), delay=HOUR)

    return service


def keys(harness: Harness) -> list[str | None]:
    """Of what was emitted, in order."""
    return [message.key for message in harness.emitted_messages]


@pytest.fixture(params=["shared", "own"])
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[Harness]:
    async with Harness(a_service(own=request.param == "own")) as harness:
        yield harness


async def test_what_a_handler_schedules_is_emitted_when_its_time_comes(harness: Harness) -> None:
    await harness.give(OrderPlaced("o-1"))
    await harness.advance(HOUR - SECOND)
    assert harness.emitted == []
    await harness.advance(SECOND)
    assert harness.emitted == [PaymentDue("o-1")]
    (message,) = harness.emitted_messages
    assert message.time == harness.clock.now() - HOUR


async def test_many_things_happen_while_much_time_passes_at_once(harness: Harness) -> None:
    await harness.give(OrderPlaced("o-1"))
    await harness.advance(3 * HOUR)
    assert harness.emitted == [PaymentDue("o-1"), PaymentDue("o-1", 2), OrderCanceled("o-1")]


async def test_a_handler_takes_back_what_another_scheduled(harness: Harness) -> None:
    await harness.give(OrderPlaced("o-1"), OrderPlaced("o-2"), OrderPaid("o-1"))
    await harness.advance(HOUR)
    assert harness.emitted == [PaymentDue("o-2")]


async def test_what_is_canceled_in_a_transaction_that_fails_stays_scheduled() -> None:
    service = Service("billing", policy=Retry(immediate=0))

    @service.on(OrderPaid)
    async def paid(order: OrderPaid, tx: Transaction) -> None:
        assert await service.cancel(order.order_id, tx)
        raise ValueError("after it")

    async with Harness(service, raising=False) as harness:
        id = await service.publish(PaymentDue("o-1"), delay=HOUR)
        await harness.give(OrderPaid(id))
        await harness.advance(HOUR)
        assert keys(harness) == ["o-1"]


@pytest.mark.parametrize("kind", ["plain", "shared", "own"])
async def test_a_handler_that_runs_twice_schedules_once(kind: str) -> None:
    service, ids = Service("billing"), list[str]()

    async def once(order: OrderPlaced, publisher: Publisher) -> OrderPaid:
        ids.append(await publisher.publish(PaymentDue(order.order_id), delay=HOUR))
        if len(ids) == 1:
            raise ValueError("after it")
        return OrderPaid(order.order_id)

    if kind == "plain":

        @service.on(OrderPlaced, publishes=(PaymentDue,))
        async def plain(order: OrderPlaced, publisher: Publisher) -> OrderPaid:
            return await once(order, publisher)
    else:

        @service.on(OrderPlaced, publishes=(PaymentDue,), transaction="own" if kind == "own" else "shared")
        async def writing(order: OrderPlaced, publisher: Publisher, tx: Transaction) -> OrderPaid:
            return await once(order, publisher)

    async with Harness(service) as harness:
        await harness.give(OrderPlaced("o-1"))
        (scheduled,) = await service.scheduled()
        assert ids == [scheduled.id] * 2
        await harness.advance(HOUR)
        assert harness.emitted == [OrderPaid("o-1"), PaymentDue("o-1")]
        assert len({message.id for message in harness.emitted_messages}) == 2


@pytest.mark.parametrize("own", [False, True])
async def test_what_a_failed_transaction_scheduled_is_never_published(own: bool) -> None:
    service = Service("billing", policy=Retry(immediate=0))

    @service.on(OrderPlaced, publishes=(PaymentDue,), transaction="own" if own else "shared")
    async def fail(order: OrderPlaced, publisher: Publisher, tx: Transaction) -> None:
        await publisher.publish(PaymentDue(order.order_id), delay=HOUR)
        raise ValueError("after it")

    async with Harness(service, raising=False) as harness:
        await harness.give(OrderPlaced("o-1"))
        assert await service.scheduled() == []
        await harness.advance(3 * HOUR)
        assert harness.emitted == []


async def test_a_deadline_travels_along_and_a_stricter_one_wins() -> None:
    service = Service("billing")

    @service.on(OrderPlaced, publishes=(OrderPaid, PaymentDue))
    async def expect(order: OrderPlaced, publisher: Publisher) -> OrderCanceled:
        await publisher.publish(OrderPaid("inherits"))
        await publisher.publish(OrderPaid("stricter"), deadline=SECOND)
        await publisher.publish(PaymentDue("after it"), delay=2 * HOUR)
        return OrderCanceled("inherits")

    async with Harness(service) as harness:
        now = harness.clock.now()
        await harness.give_message(structs.replace(harness.message(OrderPlaced("o-1")), deadline=now + HOUR))
        await harness.advance(2 * HOUR)
        found = {(message.type, message.key): message.deadline for message in harness.emitted_messages}
    assert found == {
        ("OrderPaid", "inherits"): now + HOUR,
        ("OrderPaid", "stricter"): now + SECOND,
        ("OrderCanceled", "inherits"): now + HOUR,
        ("PaymentDue", "after it"): None,
    }


async def test_an_application_schedules_lists_and_cancels() -> None:
    service, other = Service("billing"), Service("other")
    async with Harness(service, other) as harness:
        now = harness.clock.now()
        first = await service.publish(PaymentDue("o-1"), at=now + 2 * HOUR)
        second, third = await service.publish_all([PaymentDue("o-2"), PaymentDue("o-3")], delay=HOUR)
        await other.publish(OrderPlaced("o-4"), delay=HOUR)
        assert [each.id for each in await service.scheduled()] == [second, third, first]
        assert [each.id for each in await service.scheduled(limit=1)] == [second]
        assert await service.scheduled(topic="orders") == []
        assert [each.at for each in await other.scheduled(topic="orders")] == [now + HOUR]
        assert await service.cancel(second)
        assert not await service.cancel(second)
        await harness.advance(2 * HOUR)
        assert keys(harness) == ["o-3", "o-4", "o-1"]
        assert not await service.cancel(first)


@pytest.mark.parametrize("fails", [False, True])
async def test_what_is_scheduled_in_an_applications_transaction_is_part_of_it(fails: bool) -> None:
    service = Service("billing")
    async with Harness(service) as harness:
        kept = await service.publish(PaymentDue("kept"), delay=HOUR)
        try:
            async with service.transaction() as (tx, publisher):
                await publisher.publish(PaymentDue("new"), delay=HOUR)
                await publisher.publish(PaymentDue("now"), delay=timedelta())
                assert await service.cancel(kept, tx)
                if fails:
                    raise KeyError("after it")
        except KeyError:
            pass
        await harness.advance(HOUR)
        assert keys(harness) == (["kept"] if fails else ["now", "new"])


async def test_what_is_scheduled_for_now_is_emitted_at_once() -> None:
    service = Service("billing")
    async with Harness(service) as harness:
        await service.publish(PaymentDue("o-1"), delay=timedelta())
        await service.publish(PaymentDue("o-2"), at=harness.clock.now() - HOUR)
        await harness.settle()
        assert keys(harness) == ["o-2", "o-1"]


async def test_what_one_service_scheduled_is_published_by_whichever_runs() -> None:
    service, other = Service("billing"), Service("other")
    async with Harness(service, other) as harness:
        await service.publish(PaymentDue("o-1"), delay=HOUR)
        await service.stop()
        await harness.clock.advance(2 * HOUR)
        assert [one.message.key for one in harness.broker.published] == ["o-1"]


async def test_a_time_that_cannot_be_is_refused_and_nothing_is_kept() -> None:
    service = Service("billing")
    async with Harness(service) as harness:
        with pytest.raises(UsageError, match="both say when"):
            await service.publish_all([PaymentDue("o-1")], at=harness.clock.now(), delay=HOUR)
        assert await service.scheduled() == []


async def test_a_service_that_does_not_run_has_no_schedule() -> None:
    service = Service("billing")
    for call in (service.scheduled(), service.cancel("any"), service.publish(PaymentDue("o-1"), delay=HOUR)):
        with pytest.raises(ClosedError):
            await call
