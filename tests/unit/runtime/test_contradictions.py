"""What contradicts itself is refused where it is declared, with how to mend it, and nothing is declared by it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from antiphon import Service, Transaction
from antiphon.brokers.memory import MemoryBroker
from antiphon.errors import DeclarationError
from antiphon.resilience import Breaker, RateLimit, Retry
from tests.unit.runtime.shop_events import OrderCancelled, OrderPlaced, PaymentTaken

SECOND = timedelta(seconds=1)

CONTRADICTIONS: list[tuple[Callable[[], dict[str, object]], str]] = [
    (lambda: {"policy": Retry(first_delay=10 * SECOND, longest_delay=SECOND)}, "the longest delay is below the first"),
    (lambda: {"policy": Retry(immediate=-1)}, "it cannot be negative"),
    (lambda: {"policy": Retry(delayed=-1)}, "it cannot be negative"),
    (lambda: {"policy": Retry(factor=0.5)}, "delays cannot shrink"),
    (lambda: {"policy": Retry(first_delay=timedelta())}, "it must be longer than nothing"),
    (lambda: {"policy": Retry(within=SECOND, first_delay=2 * SECOND)}, "would come too late"),
    (lambda: {"policy": Retry(transient=(KeyError,), ignorable=(KeyError,))}, "KeyError is in both"),
    (lambda: {"policy": Retry(permanent=(KeyError,), ignorable=(KeyError,))}, "KeyError is in both"),
    (lambda: {"policy": Retry(crashes=0)}, "it cannot be below 1"),
    (lambda: {"policy": "three times"}, "it is a policy, as in policy=Retry(immediate=3)"),
    (lambda: {"breaker": Breaker(failure_rate=0.0)}, "it is a share above 0"),
    (lambda: {"breaker": Breaker(slow_rate=0.5)}, "it does not say what is slow"),
    (lambda: {"breaker": Breaker(slow=SECOND, permit_expiry=SECOND)}, "would expire before it ends"),
    (lambda: {"breaker": Breaker(trials=0)}, "it cannot be below 1"),
    (lambda: {"breaker": True}, "it is a breaker, as in breaker=Breaker(rest=...)"),
    (lambda: {"limit": RateLimit(messages=0)}, "it cannot be below 1"),
    (lambda: {"limit": RateLimit(messages=1, burst=0)}, "it cannot be below 1"),
    (lambda: {"limit": 100}, "it is a rate limit, as in limit=RateLimit(messages=100)"),
]


@pytest.mark.parametrize("place", ["on", "on_batch", "Service"])
@pytest.mark.parametrize(("make", "told"), CONTRADICTIONS, ids=[f"{number}" for number in range(len(CONTRADICTIONS))])
def test_options_that_contradict_themselves_are_refused(
    make: Callable[[], dict[str, object]], told: str, place: str
) -> None:
    service = Service("payments")

    async def take(order: OrderPlaced) -> None: ...

    async def take_many(orders: list[OrderPlaced]) -> None: ...

    declare: dict[str, Callable[[], object]] = {
        "on": lambda: service.on(OrderPlaced, **make())(take),
        "on_batch": lambda: service.on_batch(OrderPlaced, **make())(take_many),
        "Service": lambda: Service("payments", **make()),
    }
    with pytest.raises(DeclarationError) as caught:
        declare[place]()
    assert told in str(caught.value)
    assert service.events() == []


@pytest.mark.parametrize(
    ("policies", "told"),
    [
        ({OrderPlaced: 3}, "it is a policy, as in policy=Retry(immediate=3)"),
        ({int: Retry()}, "int"),
        ([(OrderPlaced, Retry())], "as in policies={OrderPlaced: Retry(immediate=3)}"),
    ],
    ids=["no policy", "no event", "no mapping"],
)
def test_policies_by_event_are_policies_of_events(policies: object, told: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        Service("payments", policies=policies)
    assert told in str(caught.value)


async def test_a_policy_for_an_event_that_no_handler_reads_stops_the_start() -> None:
    broker = MemoryBroker()
    service = Service("payments", broker=broker, policies={OrderPlaced: Retry(), OrderCancelled: Retry()})

    @service.on(OrderPlaced)
    async def take(order: OrderPlaced) -> None: ...

    for attempt in (service.start, lambda: asyncio.to_thread(service.describe)):
        with pytest.raises(DeclarationError, match=r"OrderCancelled: \.\.\.}: no handler of it reads that event"):
            await attempt()
    assert not broker.database.counters.commits


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"policy": Retry(immediate=1)}, "settle='first' runs it at most once, so nothing is tried again"),
        ({"policy": Retry(immediate=0, delayed=1)}, "settle='first' runs it at most once"),
    ],
)
def test_what_runs_at_most_once_has_no_retries(options: dict[str, object], told: str) -> None:
    service = Service("payments")

    async def take(order: OrderPlaced) -> None: ...

    with pytest.raises(DeclarationError, match="leave out policy=") as caught:
        service.on(OrderPlaced, settle="first", **options)(take)
    assert told in str(caught.value)
    service.on(OrderPlaced, settle="first", policy=Retry(immediate=0, delayed=0))(take)


def test_what_runs_at_most_once_has_no_transaction() -> None:
    service = Service("payments")

    async def take(order: OrderPlaced, tx: Transaction) -> None: ...

    with pytest.raises(DeclarationError, match="settle='first' gives up what a Transaction is for"):
        service.on(OrderPlaced, settle="first")(take)


def test_what_runs_at_most_once_needs_the_inbox() -> None:
    service = Service("payments", inbox=False, broker="memory:///")

    @service.on(OrderPlaced, settle="first")
    async def take(order: OrderPlaced) -> None: ...

    with pytest.raises(DeclarationError, match="inbox=False: leave out one of the two"):
        service.describe()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"breaker": Breaker()}, {"breaker": Breaker(least=7)}),
        ({"limit": RateLimit(messages=1)}, {"limit": RateLimit(messages=2)}),
    ],
    ids=["breaker", "limit"],
)
def test_handlers_of_one_topic_stop_it_alike_or_not_at_all(one: dict[str, object], other: dict[str, object]) -> None:
    service, apart = (Service("payments", broker="memory:///") for _ in range(2))

    async def place(order: OrderPlaced) -> None: ...

    async def cancel(order: OrderCancelled) -> None: ...

    async def pay(payment: PaymentTaken) -> None: ...

    service.on(OrderPlaced, **one)(place)
    service.on(OrderCancelled, **other)(cancel)
    with pytest.raises(DeclarationError, match="differs from that of place, which reads 'orders'"):
        service.describe()
    apart.on(OrderPlaced, **one)(place)
    apart.on(OrderCancelled)(cancel)
    apart.on(PaymentTaken, **other)(pay)
    assert [gate.topic for gate in apart.describe().gates] == ["orders", "payments"]


async def test_a_business_key_that_would_recognize_nothing_is_refused() -> None:
    async def take(order: OrderPlaced) -> None: ...

    async def write(order: OrderPlaced, tx: Transaction) -> None: ...

    service = Service("payments")
    with pytest.raises(DeclarationError, match="is kept in the handler's Transaction: ask for one, or say settle"):
        service.on(OrderPlaced, once_by="order_id")(take)
    with pytest.raises(DeclarationError, match=r"once_by='id' is no field of OrderPlaced, which has .*order_id"):
        service.on(OrderPlaced, once_by="id")(write)
    forgetful = Service("payments", inbox=False)
    forgetful.on(OrderPlaced, once_by="order_id")(write)
    with pytest.raises(DeclarationError, match="once_by='order_id' is remembered in the inbox, and this service has"):
        await forgetful.start(MemoryBroker())
