"""Who is slow keeps what it reads."""

from __future__ import annotations

import asyncio

from antiphon.brokers.redis import RedisBroker
from tests.integration.redis.servers import ROOM, SECOND, numbered, watermarks


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
