"""How do replies reach an asker on a broker that has no way of its own for them: over a topic of the asker's name.

The topic keeps little, and for minutes only. Each asker reads all of it from where it ends and takes what is its own.
Where an adapter reads without a group, nothing else is needed; elsewhere each has a group of its own, which never
commits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Protocol
from uuid import uuid4

from msgspec import structs

from antiphon.brokers.ports import (
    Broker,
    Browsing,
    Delivery,
    LogSubscription,
    NoticeKind,
    Reply,
    ReplyBox,
    Replying,
    Start,
    SubscribeOptions,
    TopicSpec,
)
from antiphon.errors import ConnectionLostError, UnsupportedCapabilityError
from antiphon.events.message import Message, Outgoing

PREFIX = "antiphon.replies."
"""What the name of every reply topic begins with; nothing else is replied to."""
REPLY_TO = "replyto"
"""The extension of a message with the address of the box that it goes to, or that a reply to it goes to."""
KEPT = timedelta(minutes=5)
"""How long a reply is kept for an asker that is slow to read."""
_AT_ONCE, _BYTES = 1000, 8 << 20
_MOST_LOOKS = timedelta(milliseconds=250)
"""The longest wait for a ring, after which a reader looks all the same, since rings are hints."""
_JOINING = timedelta(seconds=30)


def replying(broker: Broker) -> Replying:
    """The broker's own way for replies, where it has one; else one over topics."""
    if broker.capabilities.request_reply and isinstance(broker, Replying):
        return broker
    return TopicReplies(broker)


def reply_topic(name: str) -> TopicSpec:
    """The topic of the replies to all askers of a name."""
    return TopicSpec(f"{PREFIX}{name}", partitions=1, keep_for=KEPT)


def new_address(topic: str) -> str:
    """An address in a reply topic that nobody else has."""
    return f"{topic}#{uuid4().hex}"


def outgoing_replies(replies: Sequence[Reply]) -> list[Outgoing]:
    """These as messages of their reply topics, without those whose address is of none."""
    return [
        Outgoing(address.partition("#")[0], _addressed(message, address))
        for address, message in replies
        if address.startswith(PREFIX) and "#" in address
    ]


def _addressed(message: Message, address: str) -> Message:
    return structs.replace(message, extensions={**message.extensions, REPLY_TO: address})


def own_of(found: Sequence[Delivery], address: str) -> list[Message]:
    """The replies among these that go to this address."""
    return [each.message for each in found if each.message.extensions.get(REPLY_TO) == address]


class Browsed(Browsing, Protocol):
    """A broker that a box can be read from without a group."""

    async def ensure_topic(self, spec: TopicSpec) -> None: ...


class Ring(Protocol):
    """What rouses a reader, as a hint: a number that moves when something may be there, and the wait for that."""

    def version(self) -> int:
        """The number now; take it before looking."""
        ...

    async def wait(self, seen: int, seconds: float, /) -> None:
        """Return when the number is another than `seen`, or after `seconds`."""
        ...


class BrowsedBox:
    """A reply box on a log that is browsed: it joins no group, so that nothing of it is kept."""

    def __init__(self, broker: Browsing, topic: str, ends: Mapping[int, str], ring: Ring) -> None:
        self._broker, self._topic, self._ring = broker, topic, ring
        self._after = dict(ends)
        self._is_closed = False
        self.address = new_address(topic)

    async def fetch(self, wait: timedelta) -> Sequence[Message]:
        """As `ReplyBox.fetch`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait.total_seconds()
        while not self._is_closed:
            seen = self._ring.version()
            found = await self._look()
            left = deadline - loop.time()
            if found or left <= 0:
                return found
            await self._ring.wait(seen, min(left, _MOST_LOOKS.total_seconds()))
        return ()

    async def _look(self) -> list[Message]:
        """All that is new of its own."""
        found: list[Message] = []
        while deliveries := await self._broker.browse(self._topic, self._after, _AT_ONCE):
            self._after.update((each.partition.number, each.position) for each in deliveries)
            found += own_of(deliveries, self.address)
        return found

    async def close(self) -> None:
        """As `ReplyBox.close`."""
        self._is_closed = True


class SubscribedBox:
    """A reply box that is a group of its own, which never moves its watermark."""

    def __init__(self, subscription: LogSubscription, topic: str) -> None:
        self._subscription = subscription
        self.address = new_address(topic)

    async def joined(self) -> None:
        """Return when it reads its topic. Raises TimeoutError when that takes too long."""
        subscription = self._subscription
        async with asyncio.timeout(_JOINING.total_seconds()):
            while not any(notice.kind is NoticeKind.ASSIGNED for notice in subscription.notices()):
                await subscription.fetch(_AT_ONCE, _BYTES, timedelta(milliseconds=20))

    async def fetch(self, wait: timedelta) -> Sequence[Message]:
        """As `ReplyBox.fetch`."""
        found = await self._subscription.fetch(_AT_ONCE, _BYTES, wait)
        self._subscription.notices()  # what is lost and not noticed would not be read again
        return own_of(found, self.address)

    async def close(self) -> None:
        """As `ReplyBox.close`."""
        await self._subscription.close()


class TopicReplies:
    """`Replying` over ordinary topics, for a broker that has nothing better."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def open_reply_box(self, name: str) -> ReplyBox:
        """As `Replying.open_reply_box`. Raises UnsupportedCapabilityError where it is no log with groups."""
        broker, spec = self._broker, reply_topic(name)
        if not broker.capabilities.groups or broker.capabilities.model != "log":
            raise UnsupportedCapabilityError(
                f"broker {broker.url}",
                "request-reply",
                "each asker would read its replies by a group of its own, of which nothing must be left behind",
            )
        await broker.ensure_topic(spec)
        group = f"{spec.name}.{uuid4().hex[:12]}"
        options = SubscribeOptions(start=Start.END, lost=Start.END)
        subscription = await broker.subscribe(group, [spec.name], options)
        assert isinstance(subscription, LogSubscription), "it is a log"
        box = SubscribedBox(subscription, spec.name)
        try:
            await box.joined()
        except TimeoutError:
            await box.close()
            raise ConnectionLostError(f"{broker.url} gave group {group!r} no partition in {_JOINING}") from None
        except BaseException:
            await box.close()
            raise
        return box

    async def reply(self, replies: Sequence[Reply]) -> None:
        """As `Replying.reply`."""
        outgoing = outgoing_replies(replies)
        if outgoing:
            await self._broker.publish(outgoing)


async def browsed_box(broker: Browsed, name: str, ring: Ring) -> BrowsedBox:
    """A box on a log in tables, which `ring` tells of commits."""
    spec = reply_topic(name)
    await broker.ensure_topic(spec)
    return BrowsedBox(broker, spec.name, await broker.ends(spec.name), ring)
