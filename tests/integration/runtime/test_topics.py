"""Topics are made as settings say, whoever comes first."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from antiphon import Key, Service, Struct, connect, event, publish_blocking
from antiphon.brokers.ports import TopicState

SETTINGS = """
[topics.orders]
partitions = 3
keep_for = "7d"
"""


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


@pytest.fixture(autouse=True)
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "antiphon.toml").write_text(SETTINGS)
    monkeypatch.chdir(tmp_path)


async def orders_topic() -> TopicState:
    broker = connect("embedded:///.antiphon/log.db")
    await broker.open()
    try:
        (topic,) = await broker.topics()
    finally:
        await broker.close()
    return topic


def test_a_script_that_comes_first_makes_its_topic_as_settings_say() -> None:
    publish_blocking(OrderPlaced("o-1"))
    topic = asyncio.run(orders_topic())
    assert (topic.partitions, topic.messages) == (3, 1)
    assert topic.keep_for is not None


async def test_an_application_that_only_publishes_makes_its_topics_as_settings_say() -> None:
    async with Service("storefront") as storefront:
        await storefront.publish(OrderPlaced("o-1"))
        async with storefront.transaction() as (_, publisher):
            await publisher.publish(OrderPlaced("o-2"))
    topic = await orders_topic()
    assert (topic.partitions, topic.messages) == (3, 2)
