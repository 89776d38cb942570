"""Who is slow keeps what it reads; who is locked out is told why."""

from __future__ import annotations

import asyncio

import pytest

from antiphon.brokers import connect
from antiphon.brokers.redis import RedisBroker
from antiphon.errors import AccessDeniedError
from antiphon.testing.servers import ValkeyServer
from tests.integration.redis.servers import ROOM, SECOND, has_all, ids, numbered, read, watermarks


async def test_who_works_for_longer_than_its_lease_keeps_its_partitions_and_commits_late(broker: RedisBroker) -> None:
    slow, other = [await broker.subscribe("payments", ["orders"]) for _ in range(2)]
    async with asyncio.timeout(10):
        while not (len([*slow._held]) == len([*other._held]) == 4):
            await asyncio.sleep(0.05)
    slow.notices()
    await broker.publish(numbered(40, keys=16))
    held = await slow.fetch(100, ROOM, SECOND)
    await asyncio.sleep(5)
    assert slow.notices() == []
    await slow.commit(watermarks(held))
    found = await other.fetch(100, ROOM, SECOND)
    assert not {each.partition for each in held} & {each.partition for each in found}


async def test_who_is_locked_out_while_it_reads_is_told_why_and_may_come_again(
    server: ValkeyServer, broker: RedisBroker
) -> None:
    async def let_in(password: str) -> None:
        await broker.native.execute_command(
            "ACL", "SETUSER", "leaver", "on", "resetpass", f">{password}", "~*", "&*", "+@all"
        )

    await let_in("secret")
    url = f"redis://leaver:secret@127.0.0.1:{server.port}?lease=2s&timeout=1s"
    leaver = connect(url)
    await leaver.open()
    subscription = await leaver.subscribe("payments", ["orders"])
    sent = numbered(20)
    await broker.publish(sent[:10])
    await read(subscription, has_all(sent[:10]))
    await let_in("another")
    await broker.native.execute_command("CLIENT", "KILL", "USER", "leaver")
    with pytest.raises(AccessDeniedError, match="does not let leaver do this") as raised:
        await read(subscription, lambda found: False)
    assert "secret" not in str(raised.value)
    await leaver.close()
    await let_in("secret")
    await leaver.open()
    again = await leaver.subscribe("payments", ["orders"])
    await leaver.publish(sent[10:])
    assert set(ids(await read(again, has_all(sent[10:])))) == set(ids(sent[10:]))
    await leaver.close()
