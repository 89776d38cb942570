"""Who lacks a right is told which one, and at once; who is locked out goes on once the door is open again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pytest

from antiphon.brokers.ports import Delivery, Reply
from antiphon.errors import AccessDeniedError, ConnectionLostError, PublishError
from antiphon.testing.servers import RabbitServer
from tests.integration.rabbitmq.brokers import a_broker
from tests.integration.rabbitmq.faults import control
from tests.integration.rabbitmq.messages import a_name, ids, numbered, publish_surely, until, work

pytestmark = pytest.mark.timeout(120)
PREFIX = "shop"


@pytest.fixture(scope="module")
def server() -> Iterator[RabbitServer]:
    with RabbitServer() as running:
        for user in ("reader", "writer", "leaver", "asker"):
            control(running, "add_user", user, "secret")
        yield running


def allow(server: RabbitServer, user: str, configure: str, write: str, read: str) -> None:
    control(server, "set_permissions", user, configure, write, read)


def url_of(server: RabbitServer, user: str) -> str:
    return server.url.replace("guest:guest", f"{user}:secret")


async def made(server: RabbitServer, topic: str, group: str) -> None:
    """A topic that a group reads, with messages."""
    broker = a_broker(server.url, PREFIX)
    await broker.open()
    await (await broker.subscribe(group, [topic])).close()
    await broker.publish(numbered(topic, range(8)))
    await broker.close()


async def test_who_may_not_write_to_a_topic_is_told_for_each_message(server: RabbitServer) -> None:
    topic = a_name("orders")
    await made(server, topic, a_name("payments"))
    allow(server, "reader", ".*", r"^(?!shop\.orders).*", ".*")
    broker = a_broker(url_of(server, "reader"), PREFIX)
    await broker.open()
    with pytest.raises(PublishError, match="give the user the right to it") as raised:
        await asyncio.wait_for(broker.publish(numbered(topic, range(3))), 20)
    assert [each.retryable for each in raised.value.refusals] == [False] * 3
    assert "secret" not in str(raised.value)
    await broker.close()


async def test_who_may_not_read_a_queue_is_told_when_it_reads(server: RabbitServer) -> None:
    topic, group = a_name("orders"), a_name("payments")
    await made(server, topic, group)
    allow(server, "writer", ".*", ".*", r"^(?!shop\.orders.*/\d).*")
    broker = a_broker(url_of(server, "writer"), PREFIX)
    await broker.open()
    subscription = await broker.subscribe(group, [topic])
    with pytest.raises(AccessDeniedError, match="give the user the right to it"):
        await asyncio.wait_for(work(subscription, []), 20)
    await broker.close()


async def test_who_is_locked_out_while_it_reads_is_told_why_and_goes_on_once_it_may(server: RabbitServer) -> None:
    topic, group, seen = a_name("orders"), a_name("payments"), list[Delivery]()
    await made(server, topic, group)
    allow(server, "leaver", ".*", ".*", ".*")
    broker = a_broker(url_of(server, "leaver"), PREFIX)
    await broker.open()
    subscription = await broker.subscribe(group, [topic])
    reading = asyncio.create_task(work(subscription, seen))
    await until(lambda: len(set(ids(seen))) == 8)
    control(server, "change_password", "leaver", "another")
    control(server, "close_all_user_connections", "leaver", "locked out")
    await asyncio.sleep(1)
    with pytest.raises(ConnectionLostError, match="does not let us in"):
        await broker.publish(numbered(topic, range(8, 9)))
    control(server, "change_password", "leaver", "secret")
    await publish_surely(broker, numbered(topic, range(8, 16)))
    await until(lambda: len(set(ids(seen))) == 16)
    reading.cancel()
    await broker.close()


async def test_who_hears_no_replies_is_told_why_until_it_hears_them_again(
    server: RabbitServer, caplog: pytest.LogCaptureFixture
) -> None:
    allow(server, "asker", ".*", ".*", ".*")
    broker, other = a_broker(url_of(server, "asker"), PREFIX), a_broker(server.url, PREFIX)
    await broker.open()
    await other.open()
    box = await broker.open_reply_box("shop")
    control(server, "change_password", "asker", "another")
    control(server, "close_all_user_connections", "asker", "locked out")
    await until(lambda: "replies are not heard until this is over" in caplog.text)
    control(server, "change_password", "asker", "secret")
    message = numbered("none", range(1))[0].message
    async with asyncio.timeout(20):
        while not (found := await box.fetch(timedelta(seconds=0.2))):
            await other.reply([Reply(box.address, message)])
    assert {each.id for each in found} == {message.id}
    await box.close()
    await broker.close()
    await other.close()
    assert caplog.text.count("replies that were on their way are lost") == 1
