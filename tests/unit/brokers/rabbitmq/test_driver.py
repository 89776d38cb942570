"""What a channel of RabbitMQ's promises about what is written to it."""

from __future__ import annotations

import asyncio
from typing import cast

from aiormq.abc import ChannelFrame
from aiormq.channel import Channel

from antiphon.brokers.rabbitmq.driver import Lane


class Wire:
    """Stands in for the driver's channel on a connection that has no room for the moment."""

    def __init__(self) -> None:
        self.write_queue: asyncio.Queue[ChannelFrame] = asyncio.Queue(1)
        self.write_queue.put_nowait(ChannelFrame(b"before", should_close=False))
        self.create_future = asyncio.get_running_loop().create_future
        self.closing = self.create_future()
        self.is_closed, self.number = False, 1

    def lane(self) -> Lane:
        return Lane(cast(Channel, self), "here")

    async def written(self) -> bytes:
        """The next that leaves, as soon as there is room for another one."""
        frame = await self.write_queue.get()
        frame.drain()
        return frame.payload


def tag_of(payload: bytes) -> int:
    return int.from_bytes(payload[11:19], "big")


async def test_what_many_write_at_once_leaves_in_the_order_in_which_they_came_when_the_connection_is_full() -> None:
    wire = Wire()
    lane = wire.lane()
    writing = [asyncio.ensure_future(lane.acknowledge(tag, ())) for tag in range(1, 20)]
    assert await wire.written() == b"before"
    late = [asyncio.ensure_future(lane.acknowledge(tag, ())) for tag in range(20, 40)]  # while others look for room
    assert [tag_of(await wire.written()) for _ in range(39)] == [*range(1, 40)]
    await asyncio.gather(*writing, *late)


async def test_acknowledgments_that_come_together_cost_one() -> None:
    wire = Wire()
    lane = wire.lane()
    for tag in range(1, 20):
        lane.acknowledge_later(tag)
    await wire.written()
    assert tag_of(await wire.written()) == 19
    lane.acknowledge_later(20)
    assert tag_of(await wire.written()) == 20
    assert wire.write_queue.empty()
