"""What the harness promises to the tests of a service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from msgspec import structs

from antiphon import EventKind, Key, Message, Retry, Service, Struct, Transaction, event
from antiphon.errors import (
    ClosedError,
    DecodeError,
    EncodeError,
    HandlingError,
    SettingsError,
    UnrecognizedMessageError,
    UsageError,
)
from antiphon.resilience import AT_ONCE
from antiphon.storage.set_aside import AsideState
from antiphon.testing import Harness

LIMIT = Decimal(100)
MINUTE = timedelta(minutes=1)
AT_LAST = Retry(delayed=0)
STEADY = Retry(immediate=0, delayed=3, first_delay=MINUTE, factor=1, jitter=False)


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]
    total: Decimal = Decimal(1)


@event(topic="orders", kind=EventKind.NOTIFICATION)
class OrderReadyToShip(Struct, frozen=True):
    order_id: Key[str]


@event(topic="payments")
class PaymentAuthorised(Struct, frozen=True):
    order_id: Key[str]


@event(topic="payments")
class PaymentDeclined(Struct, frozen=True):
    order_id: Key[str]


@event(topic="parcels")
class ParcelSent(Struct, frozen=True):
    order_id: Key[str]
    street: str


class Gateway:
    def __init__(self, broken: bool = False) -> None:
        self.broken = broken
        self.asked: list[str] = []
        self.mends_at: int | None = None

    def ask(self, order_id: str) -> None:
        self.asked.append(order_id)
        if self.broken and len(self.asked) != self.mends_at:
            raise ConnectionRefusedError("no gateway here")


class Address(Struct, frozen=True):
    street: str


def a_service(policy: Retry | None = None) -> Service:
    payments = Service("payments", migrations="migrations", policy=policy or Retry())

    @payments.provides
    def gateway() -> Iterator[Gateway]:
        raise AssertionError("a test must not reach the real gateway")
        yield Gateway()

    @payments.on(OrderPlaced)
    async def authorise(order: OrderPlaced, tx: Transaction, gateway: Gateway) -> PaymentAuthorised | PaymentDeclined:
        gateway.ask(order.order_id)
        if order.total > LIMIT:
            return PaymentDeclined(order.order_id)
        await tx.execute("insert into ledger values (?, ?)", order.order_id, int(order.total * 100))
        return PaymentAuthorised(order.order_id)

    return payments


def a_shipping_service() -> Service:
    shipping = Service("shipping")

    @shipping.fetches(OrderReadyToShip)
    async def address(note: OrderReadyToShip) -> Address:
        raise AssertionError("a test must not reach the real address book")

    @shipping.on(OrderReadyToShip)
    async def send(note: OrderReadyToShip, address: Address) -> ParcelSent:
        return ParcelSent(note.order_id, address.street)

    return shipping


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@pytest.fixture
async def harness(gateway: Gateway) -> AsyncIterator[Harness]:
    async with Harness(a_service(), replace={Gateway: gateway}) as harness:
        yield harness


async def test_giving_returns_when_all_that_follows_is_emitted_and_written(harness: Harness) -> None:
    await harness.give(OrderPlaced("o-1", Decimal("9.99")), OrderPlaced("o-2", LIMIT + 1))
    assert harness.emitted == [PaymentAuthorised("o-1"), PaymentDeclined("o-2")]
    assert await harness.fetch("select order_id, pence from ledger") == [("o-1", 999)]
    assert await harness.fetch("select pence from ledger", row=int) == [999]


async def test_what_was_given_is_not_among_what_was_emitted(harness: Harness) -> None:
    await harness.give(OrderPlaced("o-1"))
    assert [message.type for message in harness.emitted_messages] == ["PaymentAuthorised"]
    assert harness.emitted_on("payments") == [PaymentAuthorised("o-1")]
    assert harness.emitted_on("orders") == []


async def test_a_message_that_comes_twice_takes_effect_once(harness: Harness, gateway: Gateway) -> None:
    message = harness.message(OrderPlaced("o-1"))
    await harness.give_message(message)
    await harness.give_message(message)
    assert harness.emitted == [PaymentAuthorised("o-1")]
    assert gateway.asked == ["o-1"]


async def test_an_envelope_of_the_tests_own_is_what_the_service_gets(harness: Harness) -> None:
    message = structs.replace(harness.message(OrderPlaced("o-1")), correlation_id="story-1", tenant="acme")
    await harness.give_message(message)
    (emitted,) = harness.emitted_messages
    assert (emitted.correlation_id, emitted.causation_id, emitted.tenant) == ("story-1", message.id, "acme")


async def test_a_message_of_a_type_that_nobody_declares_needs_a_topic(harness: Harness) -> None:
    stray = structs.replace(harness.message(OrderPlaced("o-1")), type="Stray")
    with pytest.raises(SettingsError, match="no topic given for 'Stray', which is declared nowhere"):
        await harness.give_message(stray)
    await harness.give_message(stray, topic="orders")
    assert harness.emitted == []
    assert harness.dead_letters == []


async def test_what_a_handler_raises_is_raised_once_its_message_is_parked() -> None:
    gateway = Gateway(broken=True)
    async with Harness(a_service(AT_LAST), replace={Gateway: gateway}) as harness:
        with pytest.raises(ConnectionRefusedError, match="no gateway here"):
            await harness.give(OrderPlaced("o-1"))
        assert gateway.asked == ["o-1"] * 4
        (letter,) = harness.dead_letters
        assert (letter.message.key, letter.handler, len(letter.attempts)) == ("o-1", "authorise", 4)
        assert harness.waiting == []
        assert await harness.fetch("select * from ledger") == []


async def test_what_a_handler_raises_is_raised_once_its_message_is_put_off(gateway: Gateway) -> None:
    gateway.broken = True
    async with Harness(a_service(), replace={Gateway: gateway}) as harness:
        with pytest.raises(ConnectionRefusedError, match="no gateway here") as caught:
            await harness.give(OrderPlaced("o-1"))
        assert gateway.asked == ["o-1"] * 4
        (item,) = harness.waiting
        assert (item.message.key, item.handler, item.state) == ("o-1", "authorise", AsideState.DELAYED)
        assert len(item.attempts) == 4
        assert harness.dead_letters == []
    (note,) = caught.value.__notes__
    assert note.startswith("put off: its next attempt comes when advance() lets ")


async def test_the_others_that_were_parked_are_named_beside_the_first() -> None:
    async with Harness(a_service(AT_LAST), replace={Gateway: Gateway(broken=True)}) as harness:
        with pytest.raises(ConnectionRefusedError) as caught:
            await harness.give(OrderPlaced("o-1"), OrderPlaced("o-2"))
    (note,) = caught.value.__notes__
    assert note.startswith("parked, too: OrderPlaced")


async def test_the_others_that_were_put_off_are_named_beside_the_first() -> None:
    async with Harness(a_service(), replace={Gateway: Gateway(broken=True)}) as harness:
        with pytest.raises(ConnectionRefusedError) as caught:
            await harness.give(OrderPlaced("o-1"), OrderPlaced("o-2"))
    assert [note.partition(":")[0] for note in caught.value.__notes__] == ["put off", "put off, too"]


async def test_failures_can_be_looked_at_instead_of_raised() -> None:
    async with Harness(a_service(AT_LAST), replace={Gateway: Gateway(broken=True)}, raising=False) as harness:
        await harness.give(OrderPlaced("o-1"))
        assert [letter.reason for letter in harness.dead_letters] == ["ConnectionRefusedError"]


async def test_what_is_put_off_waits_until_the_test_lets_its_time_come(gateway: Gateway) -> None:
    gateway.broken = True
    async with Harness(a_service(STEADY), replace={Gateway: gateway}, raising=False) as harness:
        await harness.give(OrderPlaced("o-1"))
        (item,) = harness.waiting
        assert item.due_at == harness.clock.now() + MINUTE
        gateway.broken = False
        await harness.settle()
        await harness.advance(MINUTE - timedelta(microseconds=1))
        assert harness.emitted == []
        await harness.advance(timedelta(microseconds=1))
        assert harness.emitted == [PaymentAuthorised("o-1")]
        assert harness.waiting == []


@pytest.mark.parametrize("is_plain", [False, True])
async def test_every_attempt_of_a_long_time_is_made_at_its_moment(is_plain: bool) -> None:
    """Also by a thread that is busy meanwhile: the clock does not run ahead of it."""
    service, times = Service("stubborn", policy=STEADY), list[datetime]()

    def plain(order: OrderPlaced) -> None:
        times.append(harness.clock.now())
        raise ValueError(sum(range(1_000_000)))

    async def refuse(order: OrderPlaced) -> None:
        plain(order)

    service.on(OrderPlaced)(plain if is_plain else refuse)
    async with Harness(service, raising=False) as harness:
        began = harness.clock.now()
        await harness.give(OrderPlaced("o-1"))
        await harness.advance(timedelta(hours=1))
        (letter,) = harness.dead_letters
        assert harness.clock.now() == began + timedelta(hours=1)
    assert times == [began + n * MINUTE for n in range(4)]
    assert [attempt.time for attempt in letter.attempts] == times


async def test_what_follows_on_its_key_waits_behind_what_was_put_off(gateway: Gateway) -> None:
    gateway.broken = True
    async with Harness(a_service(STEADY), replace={Gateway: gateway}, raising=False) as harness:
        await harness.give(OrderPlaced("o-1"), OrderPlaced("o-2", LIMIT), OrderPlaced("o-2", LIMIT + 1))
        gateway.broken = False
        await harness.give(OrderPlaced("o-2"), OrderPlaced("o-3"))
        assert harness.emitted == [PaymentAuthorised("o-3")]
        behind = [item for item in harness.waiting if item.state is AsideState.BEHIND]
        assert [(item.message.key, item.due_at, item.attempts) for item in behind] == [("o-2", None, ())] * 2
        await harness.advance(MINUTE)
        assert [event for event in harness.emitted if event != PaymentAuthorised("o-1")] == [
            PaymentAuthorised("o-3"),
            PaymentAuthorised("o-2"),
            PaymentDeclined("o-2"),
            PaymentAuthorised("o-2"),
        ]
        assert harness.waiting == []


async def test_what_is_put_off_again_is_raised_again_and_what_succeeds_in_the_end_is_not(gateway: Gateway) -> None:
    gateway.broken = True
    async with Harness(a_service(STEADY), replace={Gateway: gateway}) as harness:
        with pytest.raises(ConnectionRefusedError):
            await harness.give(OrderPlaced("o-1"))
        await harness.settle()
        with pytest.raises(ConnectionRefusedError):
            await harness.advance(MINUTE)
        gateway.mends_at = len(gateway.asked) + 2
        await harness.advance(2 * MINUTE)
        assert harness.emitted == [PaymentAuthorised("o-1")]


async def test_what_is_parked_after_it_was_put_off_is_raised_however_early_it_left_the_flow(gateway: Gateway) -> None:
    gateway.broken = True
    async with Harness(a_service(STEADY), replace={Gateway: gateway}) as harness:
        with pytest.raises(ConnectionRefusedError):
            await harness.give(OrderPlaced("o-1"))
        with pytest.raises(UnrecognizedMessageError):
            await harness.give_bytes("orders", b"rubbish")
        assert [letter.handler for letter in harness.dead_letters] == [""]
        with pytest.raises(ConnectionRefusedError):
            await harness.advance(timedelta(hours=1))
        assert [letter.handler for letter in harness.dead_letters] == ["authorise", ""]


async def test_what_is_parked_without_an_attempt_is_raised_with_its_reason(gateway: Gateway) -> None:
    async with Harness(a_service(), replace={Gateway: gateway}) as harness:
        late = structs.replace(harness.message(OrderPlaced("o-1")), deadline=harness.clock.now())
        with pytest.raises(HandlingError, match="was parked: deadline"):
            await harness.give_message(late)
        assert gateway.asked == []


async def test_one_failure_is_raised_once(harness: Harness, gateway: Gateway) -> None:
    gateway.broken = True
    with pytest.raises(ConnectionRefusedError):
        await harness.give(OrderPlaced("o-1"))
    gateway.broken = False
    await harness.give(OrderPlaced("o-2"))
    assert harness.emitted == [PaymentAuthorised("o-2")]


async def test_data_that_cannot_be_decoded_is_raised_as_what_it_is(harness: Harness) -> None:
    with pytest.raises(DecodeError, match="OrderPlaced"):
        await harness.give_message(structs.replace(harness.message(OrderPlaced("o-1")), data=b"{"))


async def test_bytes_are_recognized_as_those_of_another_program(harness: Harness) -> None:
    body = b'{"eventType": "OrderPlaced", "eventId": "e-1", "data": {"order_id": "o-1", "total": "5"}}'
    await harness.give_bytes("orders", body)
    assert harness.emitted == [PaymentAuthorised("o-1")]


async def test_bytes_that_are_no_message_are_parked(harness: Harness) -> None:
    with pytest.raises(UnrecognizedMessageError, match="rubbish"):
        await harness.give_bytes("orders", b"rubbish")
    (letter,) = harness.dead_letters
    assert letter.message.data == b"rubbish"


async def test_a_fetcher_can_be_replaced() -> None:
    async def address(note: OrderReadyToShip) -> Address:
        return Address(f"street of {note.order_id}")

    async with Harness(a_shipping_service(), fetch={OrderReadyToShip: address}) as harness:
        await harness.give(OrderReadyToShip("o-1"))
        assert harness.emitted == [ParcelSent("o-1", "street of o-1")]


async def test_a_stand_in_for_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="shipping provides none"):
        await Harness(a_shipping_service(), replace={Gateway: Gateway()}).__aenter__()
    with pytest.raises(UsageError, match="shipping declares no fetcher of it"):
        await Harness(a_shipping_service(), fetch={OrderPlaced: a_shipping_service}).__aenter__()  # type: ignore[dict-item]


async def test_services_that_hear_of_each_other_run_together(gateway: Gateway) -> None:
    warehouse = Service("warehouse")

    @warehouse.on(PaymentAuthorised)
    async def send(payment: PaymentAuthorised) -> ParcelSent:
        return ParcelSent(payment.order_id, "here")

    async with Harness(a_service(), warehouse, replace={Gateway: gateway}) as harness:
        await harness.give(OrderPlaced("o-1"), OrderPlaced("o-2"))
        assert harness.emitted_on("payments") == [PaymentAuthorised("o-1"), PaymentAuthorised("o-2")]
        assert harness.emitted_on("parcels") == [ParcelSent("o-1", "here"), ParcelSent("o-2", "here")]


async def test_the_same_service_can_be_tried_again_and_remembers_nothing(gateway: Gateway) -> None:
    payments = a_service()
    for _ in range(2):
        async with Harness(payments, replace={Gateway: gateway}) as harness:
            await harness.give(OrderPlaced("o-1"))
            assert harness.emitted == [PaymentAuthorised("o-1")]
            assert await harness.fetch("select count(*) from ledger", row=int) == [1]


async def test_time_is_what_the_test_says() -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    async with Harness(a_service(), replace={Gateway: Gateway()}, start=noon) as harness:
        await harness.advance(timedelta(hours=3))
        await harness.give(OrderPlaced("o-1"))
        assert [message.time for message in harness.emitted_messages] == [noon + timedelta(hours=3)]


async def test_giving_lets_no_time_pass(harness: Harness) -> None:
    before = harness.clock.now()
    await harness.give(*[OrderPlaced(f"o-{n}") for n in range(50)])
    assert len(harness.emitted) == 50
    assert harness.clock.now() == before


async def test_what_waits_for_newer_code_is_tried_again_as_time_passes(harness: Harness) -> None:
    newer = structs.replace(harness.message(OrderPlaced("o-1")), schema_version=2)
    await harness.give_message(newer)
    assert harness.emitted == []
    await harness.advance(timedelta(minutes=5))
    assert harness.emitted == []
    assert harness.dead_letters == []


async def test_plain_functions_are_waited_for_in_their_thread() -> None:
    service = Service("printing")

    @service.on(OrderPlaced)
    def printed(order: OrderPlaced) -> ParcelSent:
        return ParcelSent(order.order_id, "printer")

    async with Harness(service) as harness:
        await harness.give(*[OrderPlaced("o-1")] * 20)
        assert harness.emitted == [ParcelSent("o-1", "printer")] * 20


async def test_a_handler_that_does_not_end_is_told_of() -> None:
    service = Service("slow")

    @service.on(OrderPlaced)
    async def wait(order: OrderPlaced) -> None:
        await harness.clock.sleep(timedelta(hours=1))

    async with Harness(service, patience=timedelta(0)) as harness:
        with pytest.raises(HandlingError, match="slow: still busy after 0:00:00"):
            await harness.give(OrderPlaced("o-1"))
        await harness.clock.advance(timedelta(hours=1))


async def test_rows_can_be_prepared_before_anything_is_given(harness: Harness) -> None:
    async with harness.store.transaction() as tx:
        await tx.execute("insert into ledger values ('o-0', 1)")
    await harness.give(OrderPlaced("o-1"))
    assert await harness.fetch("select count(*) from ledger", row=int) == [2]


async def test_policies_are_the_services_own() -> None:
    service = Service("picky", policy=AT_ONCE)

    @service.on(OrderPlaced)
    async def refuse(order: OrderPlaced, message: Message) -> None:
        raise ValueError(message.type)

    async with Harness(service, raising=False) as harness:
        await harness.give(OrderPlaced("o-1"))
        (letter,) = harness.dead_letters
        assert len(letter.attempts) == 1


async def test_what_the_application_itself_publishes_is_emitted_too(harness: Harness) -> None:
    (payments,) = harness.services
    await payments.publish(PaymentDeclined("o-1"))
    assert harness.emitted == [PaymentDeclined("o-1")]


async def test_after_its_end_the_service_is_stopped(gateway: Gateway) -> None:
    payments = a_service()
    async with Harness(payments, replace={Gateway: gateway}):
        assert payments.health.state == "running"
    assert payments.health.state == "stopped"
    with pytest.raises(ClosedError):
        _ = payments.store


def test_a_harness_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one service"):
        Harness()


def a_sloppy_service() -> Service:
    service = Service("sloppy")

    @service.on(OrderPlaced)
    async def send(order: OrderPlaced) -> ParcelSent:
        street: str = 5 if order.order_id == "bad" else "High Street"  # type: ignore[assignment]  # the mistake
        return ParcelSent(order.order_id, street)

    return service


async def test_an_event_with_a_value_that_its_type_does_not_allow_is_told_of_by_whom_it_was_published() -> None:
    async with Harness(a_sloppy_service()) as harness:
        with pytest.raises(EncodeError, match=r"'sloppy' published 'ParcelSent' .* `\$\.street`"):
            await harness.give(OrderPlaced("bad"))
        await harness.give(OrderPlaced("good"))
        assert [one.key for one in harness.emitted_messages] == ["bad", "good"]


async def test_whoever_published_a_wrong_value_is_told_of_before_whoever_parked_it() -> None:
    reader = Service("reader")

    @reader.on(ParcelSent)
    async def read(parcel: ParcelSent) -> None: ...

    async with Harness(a_sloppy_service(), reader) as harness:
        with pytest.raises(EncodeError, match="'sloppy' published"):
            await harness.give(OrderPlaced("bad"))
        assert [letter.service for letter in harness.dead_letters] == ["reader"]


async def test_wrong_values_are_not_raised_where_nothing_is() -> None:
    async with Harness(a_sloppy_service(), raising=False) as harness:
        await harness.give(OrderPlaced("bad"))
