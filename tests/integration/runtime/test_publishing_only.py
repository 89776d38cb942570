"""A service that only publishes needs no store, whatever the broker; what needs one is refused when it is asked for."""

from datetime import timedelta

import pytest

from antiphon import Key, Service, Struct, connect, event
from antiphon.errors import UnsupportedCapabilityError
from antiphon.events.ids import new_id
from antiphon.runtime.settings import ServiceSettings, Settings
from antiphon.runtime.summary import summarize

TOPIC = f"orders-{new_id()[-12:]}"


@event(topic=TOPIC)
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


@pytest.fixture(scope="module", params=["kafka", "nats", "rabbitmq", "redis"])
def url(request, server_url):
    return server_url(request.param)


async def held(url):
    """How many messages the broker has of the topic."""
    broker = connect(url)
    await broker.open()
    try:
        return sum(each.messages for each in await broker.topics() if each.name == TOPIC)
    finally:
        await broker.close()


async def test_it_publishes_without_a_store(url):
    settings = Settings(common=ServiceSettings(broker=url))
    storefront = Service("storefront")
    assert "store" not in summarize([storefront.describe(settings=settings)]).replace("storefront", "")
    await storefront.start(settings=settings)
    try:
        await storefront.publish(OrderPlaced("o-1"))
        await storefront.publish_all([OrderPlaced("o-2"), OrderPlaced("o-3")])
        assert await storefront.caught_up()
    finally:
        await storefront.stop()
    assert await held(url) == 3


async def test_what_needs_a_store_is_refused_by_name(url):
    async with Service("storefront", broker=url) as storefront:
        with pytest.raises(UnsupportedCapabilityError, match=r"'storefront' has no store: .* what it publishes later"):
            await storefront.publish(OrderPlaced("o-1"), delay=timedelta(minutes=1))
        with pytest.raises(UnsupportedCapabilityError, match="'storefront' has no store"):
            async with storefront.transaction():
                raise AssertionError("it has no transactions")
        with pytest.raises(UnsupportedCapabilityError, match="'storefront' has no store"):
            await storefront.scheduled()


async def test_one_that_handles_still_needs_a_store(url):
    payments = Service("payments", broker=url)

    @payments.on(OrderPlaced)
    async def pay(order: OrderPlaced) -> None:
        raise AssertionError("it cannot start")

    with pytest.raises(UnsupportedCapabilityError, match="'payments' needs one for its inbox and dead letters"):
        await payments.start()
