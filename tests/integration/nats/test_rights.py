"""Who may not come in, or not do this, is told so; who is locked out for a while goes on once it may."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from antiphon.brokers.ports import SeekTo
from antiphon.errors import AccessDeniedError, BrokerError, ConnectionLostError
from antiphon.testing.servers import NatsServer
from tests.integration.nats.tools import ForgetfulRoad, all_of, numbered, opened, persistently, read_until, until
from tests.integration.postgres.cutting import road_to

USERS = (
    "accounts { A { jetstream: enabled, users: [",
    "  { user: all, password: secret }",
    "  { user: reader, password: secret, permissions: { publish: { deny: 'orders.>' } } }",
    "] }, B { users: [ { user: poor, password: secret } ] } }",
)


@pytest.fixture
def guarded() -> Iterator[NatsServer]:
    with NatsServer(settings=USERS) as running:
        yield running


def reload(server: NatsServer, owner: str) -> None:
    """Let it read another line for that user, as an operator does it."""
    (server._folder / "nats.conf").write_text("\n".join((USERS[0], owner, *USERS[2:])), "utf-8")
    os.kill(server.pid, signal.SIGHUP)


def as_user(server: NatsServer, user: str) -> str:
    return f"{server.url.replace('//', f'//{user}@')}?timeout=2s"


async def test_a_server_that_does_not_let_us_in_says_so_without_the_password(guarded: NatsServer) -> None:
    for user in ("all:wrong", "nobody:secret"):
        with pytest.raises(AccessDeniedError, match="does not let us in") as raised:
            await opened(as_user(guarded, user))
        assert "wrong" not in str(raised.value)
        assert "secret" not in str(raised.value)


async def test_a_reason_that_a_reset_swallows_is_asked_for_again(guarded: NatsServer) -> None:
    async with road_to(guarded.port, ForgetfulRoad) as (_, port):
        url = as_user(guarded, "all:wrong").replace(str(guarded.port), str(port))
        with pytest.raises(AccessDeniedError, match="does not let us in"):
            await opened(url)
        await (await opened(url.replace("wrong", "secret"))).close()


async def test_who_is_locked_out_while_it_reads_waits_and_goes_on_once_it_may(guarded: NatsServer) -> None:
    broker = await opened(as_user(guarded, "all:secret"))
    subscription = await broker.subscribe("payments", ["orders"])
    sent = numbered(40)
    await broker.publish(sent[:20])
    await read_until(subscription, all_of(sent[:20]))
    reload(guarded, USERS[1].replace("secret", "another"))
    link = broker._link
    await until(lambda: not link.is_connected)
    with pytest.raises(ConnectionLostError, match=r"not connected for 2 s \("):
        await broker.publish(numbered(1))
    reload(guarded, USERS[1])
    await persistently(broker, sent[20:])
    await read_until(subscription, all_of(sent[20:]))
    await broker.close()


async def test_a_right_that_is_missing_is_told_at_once(guarded: NatsServer) -> None:
    owner, reader = await opened(as_user(guarded, "all:secret")), await opened(as_user(guarded, "reader:secret"))
    await owner.publish(numbered(3))
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(AccessDeniedError, match="does not allow it"):
        await reader.publish(numbered(1))
    assert loop.time() - began < 1
    assert len(await reader.browse("orders", SeekTo.START, 10)) == 3
    await owner.close()
    await reader.close()


async def test_an_account_without_jetstream_is_told(guarded: NatsServer) -> None:
    poor = await opened(as_user(guarded, "poor:secret"))
    with pytest.raises(BrokerError, match="JetStream"):
        await poor.publish(numbered(1))
    await poor.close()
