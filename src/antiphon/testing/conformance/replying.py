"""Promises about replies: they reach the box of their address and no other, and nothing else happens to them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from msgspec import structs

from antiphon.brokers.ports import Broker, Reply, ReplyBox
from antiphon.brokers.reply_topics import REPLY_TO, replying
from antiphon.errors import UnsupportedCapabilityError
from antiphon.events.message import Message
from antiphon.testing.conformance.suite import BrokerSuite, a_message


class ReplyConformance(BrokerSuite):
    """Whether by a way of the broker's own or over a topic: where replies can be had, they are had like this."""

    async def box(self, broker: Broker, name: str) -> ReplyBox:
        """An open box. Skips nothing: where there can be none, opening one is refused by name."""
        async with self.in_time():
            return await replying(broker).open_reply_box(name)

    def can_reply(self, broker: Broker) -> bool:
        """Whether there is a way for replies at all."""
        able = broker.capabilities
        return able.request_reply or (able.model == "log" and able.groups)

    async def replies(self, broker: Broker, box: ReplyBox, count: int) -> list[Message]:
        """The next so many that arrive, without the address that some bear."""
        found: list[Message] = []
        async with self.in_time():
            while len(found) < count:
                found += await box.fetch(self.timeout)
        return [_bare(message) for message in found]

    async def test_a_reply_arrives_whole_in_the_box_of_its_address(self, broker: Broker) -> None:
        if not self.can_reply(broker):
            with pytest.raises(UnsupportedCapabilityError):
                await self.box(broker, self.fresh("asker"))
            return
        box = await self.box(broker, self.fresh("asker"))
        sent = structs.replace(
            a_message("key-ä", b'{"total": 12.5}'),
            time=datetime(2026, 2, 28, 23, 59, 59, 123456, tzinfo=UTC),
            schema_version=7,
            correlation_id="story-1",
            causation_id="cause-1",
            traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            deadline=datetime(2026, 3, 1, tzinfo=UTC) + timedelta(microseconds=1),
            tenant="tenant-ö",
            extensions={"region": "eu-1"},
        )
        await replying(broker).reply([Reply(box.address, sent)])
        assert await self.replies(broker, box, 1) == [sent]
        await box.close()

    async def test_boxes_of_one_name_get_each_their_own_replies(self, broker: Broker) -> None:
        if not self.can_reply(broker):
            return
        name = self.fresh("asker")
        boxes = [await self.box(broker, name) for _ in range(3)]
        assert len({box.address for box in boxes}) == 3
        sent = [[a_message(f"key-{number}") for number in range(20)] for _ in boxes]
        together = [(box, own[number]) for number in range(20) for box, own in zip(boxes, sent, strict=True)]
        mixed = [Reply(box.address, each) for box, each in together]
        await replying(broker).reply(mixed)
        for box, own in zip(boxes, sent, strict=True):
            assert _ids(await self.replies(broker, box, 20)) == _ids(own)
            await box.close()

    async def test_what_goes_to_a_box_that_is_closed_or_to_none_is_dropped(self, broker: Broker) -> None:
        if not self.can_reply(broker):
            return
        closed, box = [await self.box(broker, self.fresh("asker")) for _ in range(2)]
        await closed.close()
        await closed.close()
        before = {topic.name for topic in await broker.topics()}
        strange = ["", "no box", f"{box.address}x", "orders", "orders#1"]
        sent = a_message()
        replies = [*(Reply(address, a_message()) for address in (closed.address, *strange)), Reply(box.address, sent)]
        await replying(broker).reply(replies)
        assert _ids(await self.replies(broker, box, 1)) == [sent.id]
        assert {topic.name for topic in await broker.topics()} == before
        await box.close()

    async def test_canceling_a_fetch_loses_no_reply(self, broker: Broker) -> None:
        if not self.can_reply(broker):
            return
        box = await self.box(broker, self.fresh("asker"))
        fetching = asyncio.create_task(box.fetch(self.timeout))
        await asyncio.sleep(0.01)
        fetching.cancel()
        await asyncio.wait({fetching})
        sent = a_message()
        await replying(broker).reply([Reply(box.address, sent)])
        assert _ids(await self.replies(broker, box, 1)) == [sent.id]
        await box.close()

    async def test_a_box_without_replies_gives_nothing_after_the_wait(self, broker: Broker) -> None:
        if not self.can_reply(broker):
            return
        box = await self.box(broker, self.fresh("asker"))
        fetching = asyncio.create_task(box.fetch(self.patience))
        await self.elapse(self.patience)
        async with self.in_time():
            assert list(await fetching) == []
        await box.close()


def _bare(message: Message) -> Message:
    rest = {name: value for name, value in message.extensions.items() if name != REPLY_TO}
    return structs.replace(message, extensions=rest)


def _ids(messages: Sequence[Message]) -> list[str]:
    return [message.id for message in messages]
