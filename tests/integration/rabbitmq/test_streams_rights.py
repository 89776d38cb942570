"""Who lacks a right to a stream is told which one; who is locked out goes on once the door is open again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from antiphon.brokers.ports import Delivery
from antiphon.errors import AccessDeniedError, ConnectionLostError, PublishError
from antiphon.testing.servers import RabbitServer
from tests.integration.rabbitmq.faults import control
from tests.integration.rabbitmq.logs import Reading, count_of, opened
from tests.integration.rabbitmq.messages import a_name, numbered, publish_surely, until

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def server() -> Iterator[RabbitServer]:
    with RabbitServer() as running:
        for user in ("reader", "writer", "member", "leaver"):
            control(running, "add_user", user, "secret")
        yield running


def allow(server: RabbitServer, user: str, configure: str, write: str, read: str) -> None:
    control(server, "set_permissions", user, configure, write, read)


def url_of(server: RabbitServer, user: str) -> str:
    return server.url.replace("guest:guest", f"{user}:secret")


async def made(server: RabbitServer, prefix: str, topic: str) -> None:
    """A topic that a group reads, with messages."""
    async with opened(server.url, prefix) as broker:
        await (await broker.subscribe("payments", [topic])).close()
        await broker.publish(numbered(topic, range(8)))


async def test_who_may_not_make_a_stream_is_told_at_once(server: RabbitServer) -> None:
    topic, prefix = a_name("orders"), a_name("p")
    await made(server, prefix, "others")
    allow(server, "reader", f"^(?!{prefix}:log/orders).*", ".*", ".*")
    async with opened(url_of(server, "reader"), prefix) as broker:
        with pytest.raises(AccessDeniedError, match="give the user the right to it") as raised:
            await asyncio.wait_for(broker.publish(numbered(topic, range(3))), 20)
    assert not raised.value.retryable
    assert "secret" not in str(raised.value)


async def test_who_may_not_publish_by_the_default_exchange_is_told_for_each_message(server: RabbitServer) -> None:
    topic, prefix = a_name("orders"), a_name("p")
    await made(server, prefix, topic)
    allow(server, "writer", ".*", r"^(?!amq\.default)..*", ".*")
    async with opened(url_of(server, "writer"), prefix) as broker:
        with pytest.raises(PublishError, match="give the user the right to it") as raised:
            await asyncio.wait_for(broker.publish(numbered(topic, range(3))), 20)
    assert [each.retryable for each in raised.value.refusals] == [False] * 3
    assert "secret" not in str(raised.value)


async def test_who_may_not_read_a_stream_is_told_when_it_reads(server: RabbitServer) -> None:
    topic, prefix = a_name("orders"), a_name("p")
    await made(server, prefix, topic)
    allow(server, "member", ".*", ".*", f"^(?!{prefix}:log/orders).*")
    async with opened(url_of(server, "member"), prefix) as broker:
        with pytest.raises(AccessDeniedError, match="give the user the right to it"):
            await asyncio.wait_for(broker.subscribe("payments", [topic]), 20)


async def test_who_is_locked_out_while_it_reads_is_told_why_and_goes_on_once_it_may(server: RabbitServer) -> None:
    topic, prefix, seen = a_name("orders"), a_name("p"), list[Delivery]()
    await made(server, prefix, topic)
    allow(server, "leaver", ".*", ".*", ".*")
    async with opened(url_of(server, "leaver"), prefix) as broker:
        reading = Reading(await broker.subscribe("payments", [topic]), seen)
        await until(lambda: count_of(seen) == 8)
        control(server, "change_password", "leaver", "another")
        control(server, "close_all_user_connections", "leaver", "locked out")
        await asyncio.sleep(1)
        with pytest.raises(ConnectionLostError, match="does not let us in"):
            await broker.publish(numbered(topic, range(8, 9)))
        await until(lambda: any("does not let us in" in str(error) for error in reading.errors))
        control(server, "change_password", "leaver", "secret")
        await publish_surely(broker, numbered(topic, range(8, 16)))
        await until(lambda: count_of(seen) == 16)
        await reading.stop()
