"""A login that is refused at the start is final; who was let in before waits, and goes on once it is let in again."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest

from antiphon import Key, Service, Struct, event
from antiphon.brokers import connect
from antiphon.brokers.ports import SeekTo
from antiphon.brokers.redis import RedisBroker
from antiphon.errors import AccessDeniedError, BrokerError, ConnectionLostError
from antiphon.runtime.asking import Asker
from antiphon.runtime.health import readiness
from antiphon.runtime.settings import ServiceSettings, Settings
from antiphon.storage.dead_letters import list_parked
from antiphon.storage.sqlite import SqliteDatabase
from antiphon.testing.servers import ValkeyServer
from tests.integration.asking.pricing import AskPrice, Price, pricing
from tests.integration.redis.servers import numbered, read

REFUSED = "does not let shop in"


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


@event(topic="payments")
class OrderPaid(Struct, frozen=True):
    order_id: Key[str]


class Gate:
    """Lets `shop` in and shuts it out."""

    def __init__(self, server: ValkeyServer, admin: RedisBroker) -> None:
        self.url = f"redis://shop:secret@127.0.0.1:{server.port}?lease=2s&timeout=1s"
        self._admin = admin.native

    async def open(self) -> None:
        await self._renew("secret")

    async def shut(self) -> None:
        """Another password, and all its connections cut."""
        await self._renew("another")
        assert await self._admin.execute_command("CLIENT", "KILL", "USER", "shop") > 0

    async def _renew(self, password: str) -> None:
        rights = ("on", "resetpass", f">{password}", "~*", "&*", "+@all")
        await self._admin.execute_command("ACL", "SETUSER", "shop", *rights)

    async def limit(self) -> None:
        """Let it in, and let it write no more."""
        await self._admin.execute_command("ACL", "SETUSER", "shop", "-xadd", "-evalsha", "-eval", "-xread")


@pytest.fixture
async def gate(server: ValkeyServer, broker: RedisBroker) -> Gate:
    gate = Gate(server, broker)
    await gate.open()
    return gate


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not done():
            await asyncio.sleep(0.02)


async def place(service: Service, numbers: range) -> None:
    """Again and again, until the server says that it holds them; so some may be there twice."""
    while True:
        try:
            return await service.publish_all([OrderPlaced(f"o-{number}") for number in numbers])
        except ConnectionLostError:
            await asyncio.sleep(0.1)


def paying(broker: RedisBroker) -> Service:
    payments = Service("payments")

    @payments.on(OrderPlaced)
    async def pay(order: OrderPlaced) -> OrderPaid:
        return OrderPaid(order.order_id)

    return payments


async def test_a_service_that_is_let_in_no_more_says_so_and_goes_on_once_it_is_again(
    gate: Gate, broker: RedisBroker, caplog: pytest.LogCaptureFixture
) -> None:
    shop, store = connect(gate.url), SqliteDatabase(":memory:")
    await shop.open()
    await store.open()
    service = paying(shop)
    stall_after = timedelta(seconds=2)
    await service.start(shop, Settings(common=ServiceSettings(broker=shop.url, stall_after=stall_after)), store=store)
    await place(service, range(100))
    await gate.shut()
    placing = asyncio.create_task(place(service, range(100, 200)))
    await until(lambda: any(REFUSED in problem for problem in readiness([service.health]).problems))
    assert service.health.state == "running"
    assert not placing.done()
    said = [each for each in caplog.records if each.levelno >= logging.WARNING and REFUSED in each.message]
    assert 0 < len([each for each in said if each.message.startswith("fetching failed")]) < 10
    assert "secret" not in caplog.text
    await gate.open()
    async with asyncio.timeout(30):
        await placing
        while not await service.caught_up():
            await asyncio.sleep(0.05)
    await until(lambda: readiness([service.health]).ok)
    paid = Counter(each.message.key for each in await broker.browse("payments", SeekTo.START, 10_000))
    assert set(paid) == {f"o-{number}" for number in range(200)}
    assert await list_parked(store) == []
    await service.stop()
    await shop.close()
    await store.close()


async def test_a_login_that_is_refused_at_the_start_is_final(gate: Gate) -> None:
    shop = connect(gate.url)
    await shop.open()
    await gate.shut()
    for broker in (connect(gate.url), shop):
        await shop.close()
        with pytest.raises(AccessDeniedError, match=REFUSED) as raised:
            await broker.open()
        assert "secret" not in str(raised.value)
    await gate.open()
    await shop.open()
    await shop.close()


async def test_a_right_that_is_taken_away_is_final(gate: Gate, broker: RedisBroker) -> None:
    shop = connect(gate.url)
    await shop.open()
    subscription = await shop.subscribe("payments", ["orders"])
    await gate.limit()
    with pytest.raises(AccessDeniedError, match="does not let shop do this"):
        await shop.publish(numbered(1))
    with pytest.raises(AccessDeniedError, match="does not let shop do this"):
        await read(subscription, lambda found: False)
    await shop.close()


async def test_an_asker_that_is_let_in_no_more_hears_replies_once_it_is_again(gate: Gate, broker: RedisBroker) -> None:
    store, service, shop = SqliteDatabase(":memory:"), pricing(), connect(gate.url)
    await store.open()
    await service.start(broker, Settings(common=ServiceSettings(broker=broker.url)), store=store)
    await shop.open()
    async with Asker(shop, name="shop") as asker:
        await gate.shut()
        with pytest.raises(BrokerError, match=REFUSED):
            await asker.ask(AskPrice("tea", 3), Price, within=timedelta(seconds=2))
        await gate.open()
        await asyncio.sleep(2.5)  # the longest pause between two tries
        assert await asker.ask(AskPrice("tea", 3), Price, within=timedelta(seconds=10)) == Price("tea", 3)
    await service.stop()
    await shop.close()
    await store.close()
