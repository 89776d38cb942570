"""A login that is refused at the start is final; who was let in before waits, and goes on once it is let in again."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from datetime import timedelta

import pytest
from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from msgspec import structs

from antiphon import Key, Service, Struct, event
from antiphon.brokers.kafka import Access, KafkaBroker
from antiphon.brokers.ports import SeekTo
from antiphon.errors import AccessDeniedError, AntiphonError, PublishError
from antiphon.runtime.asking import Asker
from antiphon.runtime.health import readiness
from antiphon.runtime.settings import ServiceSettings, Settings
from antiphon.storage.dead_letters import list_parked
from antiphon.storage.sqlite import SqliteDatabase
from tests.integration.asking.pricing import AskPrice, Price, pricing
from tests.integration.kafka.cluster import OPTIONS, locked

pytestmark = pytest.mark.timeout(180)
REFUSED = "does not let us in any more"


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


@event(topic="payments")
class OrderPaid(Struct, frozen=True):
    order_id: Key[str]


class Gate:
    """Lets `root` in and shuts it out: by another password, after which the server is started again."""

    def __init__(self, server, address, sasl):
        self.server, self._address, self._sasl = server, address, sasl
        self._right = "r" if sasl == "plain" else "s"

    def broker(self):
        options = structs.replace(OPTIONS, sasl=self._sasl, patience=timedelta(seconds=4))
        return KafkaBroker(self._address, options, Access(user="root", password=self._right))

    async def open(self):
        await self._renew(self._right)

    async def shut(self):
        await self._renew("another")

    async def _renew(self, password):
        if self._sasl == "plain":
            await asyncio.to_thread(self._restart, password)
            return
        await self._renew_scram(password)
        await asyncio.to_thread(self._restart)

    async def _renew_scram(self, password):
        admin = AdminClient({"bootstrap.servers": self.server.address})
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
        change = UserScramCredentialUpsertion("root", info, password.encode())
        for answer in admin.alter_user_scram_credentials([change]).values():
            await asyncio.wrap_future(answer)

    async def make(self):
        if self._sasl != "plain":
            await self._renew_scram(self._right)
        return self

    def _restart(self, password=None):
        self.server.stop()
        if password is not None:
            file = self.server._folder / "server.properties"
            was, now = (f'user_root="{each}"' for each in ("r" if password != "r" else "another", password))
            file.write_text(file.read_text("utf-8").replace(was, now), "utf-8")
        self.server.start()


@pytest.fixture(params=["plain", "scram-sha-256"])
async def gate(request):
    server, address = locked()
    with server:
        yield await Gate(server, address, request.param).make()


async def until(done, seconds=60):
    async with asyncio.timeout(seconds):
        while not done():
            await asyncio.sleep(0.05)


async def place(service, numbers):
    """Again and again, until the cluster says that it holds them; so some may be there twice."""
    while True:
        try:
            return await service.publish_all([OrderPlaced(f"o-{number}") for number in numbers])
        except PublishError as error:
            if not all(refusal.retryable for refusal in error.refusals):
                raise
        except AntiphonError as error:
            if not error.retryable:
                raise
        await asyncio.sleep(0.2)


def paying(guarantee):
    payments = Service("payments")

    @payments.on(OrderPlaced, guarantee=guarantee)
    async def pay(order: OrderPlaced) -> OrderPaid:
        return OrderPaid(order.order_id)

    return payments


@pytest.mark.parametrize("guarantee", ["at_least_once", "effectively_once"])
async def test_a_service_that_is_let_in_no_more_says_so_and_goes_on_once_it_is_again(gate, caplog, guarantee):
    broker, store, service = gate.broker(), SqliteDatabase(":memory:"), paying(guarantee)
    await broker.open()
    await store.open()
    settings = ServiceSettings(broker=broker.url, stall_after=timedelta(seconds=3))
    await service.start(broker, Settings(common=settings), store=store)
    await place(service, range(100))
    await gate.shut()
    placing = asyncio.create_task(place(service, range(100, 200)))
    await until(lambda: any(REFUSED in problem for problem in readiness([service.health]).problems))
    with pytest.raises(AccessDeniedError, match="does not let us connect"):
        await gate.broker().open()
    await asyncio.sleep(6)  # longer than anything of ours is patient
    assert service.health.state == "running"
    assert not placing.done()
    said = [each.name for each in caplog.records if each.levelno >= logging.WARNING and REFUSED in each.message]
    assert said.count("antiphon.brokers.kafka") == 1
    assert len(said) < 10
    await gate.open()
    async with asyncio.timeout(90):
        await placing
        while not await service.caught_up():
            await asyncio.sleep(0.1)
    await until(lambda: readiness([service.health]).ok)
    paid = Counter(each.message.key for each in await broker.browse("payments", SeekTo.START, 10_000))
    assert set(paid) == {f"o-{number}" for number in range(200)}
    assert await list_parked(store) == []
    await service.stop()
    await broker.close()
    await store.close()


async def test_an_asker_that_is_let_in_no_more_hears_replies_once_it_is_again(gate):
    broker, store, service = gate.broker(), SqliteDatabase(":memory:"), pricing()
    await broker.open()
    await store.open()
    await service.start(broker, Settings(common=ServiceSettings(broker=broker.url)), store=store)
    async with Asker(broker, name="shop") as asker:
        assert await asker.ask(AskPrice("tea", 3), Price, within=timedelta(seconds=20)) == Price("tea", 3)
        await gate.shut()
        with pytest.raises(AntiphonError) as raised:
            await asker.ask(AskPrice("tea", 3), Price, within=timedelta(seconds=8))
        assert raised.value.retryable or all(refusal.retryable for refusal in raised.value.refusals)
        await gate.open()
        async with asyncio.timeout(60):
            while True:
                try:
                    found = await asker.ask(AskPrice("tea", 4), Price, within=timedelta(seconds=10))
                    break
                except AntiphonError:
                    await asyncio.sleep(0.5)
        assert found == Price("tea", 4)
    assert service.health.state == "running"
    await service.stop()
    await broker.close()
    await store.close()
