"""Whatever happens to its Redis, a running service loses nothing, does nothing twice, and goes on by itself."""

import asyncio
from collections import Counter

import pytest

from antiphon import Key, Service, Struct, Transaction, connect, event
from antiphon.brokers.ports import SeekTo
from antiphon.errors import ConnectionLostError
from antiphon.runtime.settings import ServiceSettings, Settings
from antiphon.storage.dead_letters import list_parked
from antiphon.storage.sqlite import SqliteDatabase
from antiphon.testing.servers import ValkeyServer

BOOK = "insert into ledger (order_id, pence) values (?, ?)"


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]
    pence: int


@event(topic="payments")
class OrderPaid(Struct, frozen=True):
    order_id: Key[str]


def paying(broker, store):
    payments = Service("payments", broker=broker, store=store, migrations="service_migrations")

    @payments.on(OrderPlaced)
    async def pay(order: OrderPlaced, tx: Transaction) -> OrderPaid:
        await tx.execute(BOOK, order.order_id, order.pence)
        return OrderPaid(order.order_id)

    return payments


@pytest.fixture
def server():
    with ValkeyServer() as running:
        yield running


async def stop_and_start(server):
    await asyncio.to_thread(server.stop)
    await asyncio.sleep(0.5)
    await asyncio.to_thread(server.start)


async def pause_and_go_on(server):
    server.pause()
    await asyncio.sleep(3)
    server.go_on()


async def cut_everybody_off(server):
    other = connect(server.url)
    for kind in ("normal", "normal", "normal"):
        await other.native.client_kill_filter(_type=kind)
        await asyncio.sleep(0.1)
    await other.close()
    await other.native.aclose(close_connection_pool=True)


@pytest.mark.parametrize("harm", [stop_and_start, pause_and_go_on, cut_everybody_off], ids=lambda harm: harm.__name__)
async def test_everything_takes_effect_once_whatever_happens_to_the_server(server, tmp_path, harm):
    broker = connect(f"{server.url}?lease=2s&timeout=1s")
    store = SqliteDatabase(tmp_path / "app.db")
    await broker.open()
    await store.open()
    services = [paying(broker, store), paying(broker, store)]
    settings = Settings(common=ServiceSettings(broker=broker.url))
    for service in services:
        await service.start(broker, settings, store=store)
    for start in range(0, 300, 50):
        await services[0].publish_all([OrderPlaced(f"o-{n}", n) for n in range(start, start + 50)])
    await harm(server)
    await publish_persistently(services[0], [OrderPlaced(f"o-{n}", n) for n in range(300, 400)])
    await until_all_paid(broker, store)
    for service in services:
        await service.stop()
    assert Counter(await store.fetch("select order_id from ledger", row=str)) == {f"o-{n}": 1 for n in range(400)}
    assert await list_parked(store) == []
    await store.close()
    await broker.close()


async def publish_persistently(service, events):
    while True:
        try:
            await service.publish_all(events)
        except ConnectionLostError:
            await asyncio.sleep(0.05)
        else:
            return


async def until_all_paid(broker, store):
    async with asyncio.timeout(60):
        while await store.fetch("select count(*) from ledger", row=int) != [400] or await paid(broker) < 400:
            await asyncio.sleep(0.05)


async def paid(broker):
    """How many orders were told to be paid, whichever relay told it again."""
    try:
        return len({each.message.key for each in await broker.browse("payments", SeekTo.START, 10_000)})
    except ConnectionLostError:
        return 0
