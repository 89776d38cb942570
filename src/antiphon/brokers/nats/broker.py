"""The broker on NATS JetStream: a partitioned log that the server keeps, for any number of machines."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial

from antiphon.brokers.capabilities import Capabilities
from antiphon.brokers.nats.browsing import browse, ends
from antiphon.brokers.nats.link import Link, Login
from antiphon.brokers.nats.names import bucket_of
from antiphon.brokers.nats.publishing import ROOM, Publisher
from antiphon.brokers.nats.replies import NatsReplyBox, send_replies
from antiphon.brokers.nats.standing import lag_of, move_group
from antiphon.brokers.nats.subscription import NatsSubscription, Patience
from antiphon.brokers.nats.table import Table
from antiphon.brokers.nats.topics import Shape, Topics
from antiphon.brokers.ports import Delivery, Lag, Reply, Seek, SeekTo, SubscribeOptions, TopicSpec, TopicState
from antiphon.errors import ClosedError, UsageError
from antiphon.events.message import Outgoing

_USUAL = 1 << 20
"""What a server takes in one message unless it was told otherwise."""


class NatsBroker:
    """A partitioned log on NATS JetStream.

    Each topic is a stream with a subject for each partition; places and leases of groups are keys of one bucket.
    `shape` says how streams are made, `patience` how long a silent member keeps its partitions, and how long one may
    work on what it was handed before a partition moves elsewhere.
    """

    def __init__(self, login: Login, *, shape: Shape, patience: Patience) -> None:
        self._link = Link(login)
        self._patience = patience
        self._topics = Topics(self._link, shape)
        self._table = Table(self._link, bucket_of(shape.namespace), shape.replicas)
        self._remembers = shape.remember > timedelta()
        self._publisher = Publisher(self._link, self._topics, with_ids=self._remembers)
        self._subscriptions: list[NatsSubscription] = []
        self._opening = asyncio.Lock()
        self._is_open = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def url(self) -> str:
        return self._link.url

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            model="log",
            durable=True,
            key_order=True,
            groups=True,
            replay=True,
            seek_time=True,
            dedup_id=self._remembers,
            request_reply=True,
            headers=True,
            max_message_bytes=(self._link.max_payload or _USUAL) - ROOM,
        )

    @property
    def native(self) -> object:
        """The connected `nats.aio.client.Client`; None before the broker was opened."""
        return self._link.native

    async def open(self) -> None:
        async with self._opening:
            if self._is_open:
                self._require_loop()
                return
            self._loop = asyncio.get_running_loop()
            await self._link.open()
            self._is_open = True

    async def close(self) -> None:
        async with self._opening:
            if not self._is_open:
                return
            self._require_loop()
            for subscription in tuple(self._subscriptions):
                await subscription.close()
            await self._link.close()
            self._is_open = False  # not before: a call that was cancelled is completed by the next

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        self._require_open("publish")
        await self._publisher.publish(outgoing)

    async def subscribe(
        self, group: str, topics: Sequence[str], options: SubscribeOptions = SubscribeOptions()
    ) -> NatsSubscription:
        self._require_open("subscribe")
        names = list(dict.fromkeys(topics))
        await self._topics.make_missing(names)
        await self._table.make()
        read = [await self._topics.find(name) for name in names]
        subscription = NatsSubscription(
            self._link, self._table, self._topics, group, read, options, self._patience, self._forget
        )
        self._subscriptions.append(subscription)
        try:
            await subscription.join()
        except BaseException:
            await subscription.close()
            raise
        return subscription

    async def ensure_topic(self, spec: TopicSpec) -> None:
        self._require_open("make a topic")
        await self._topics.ensure(spec)

    async def topics(self) -> Sequence[TopicState]:
        self._require_open("list the topics")
        return await self._topics.states()

    async def groups(self) -> Sequence[str]:
        self._require_open("list the groups")
        return await self._table.groups()

    async def lag(self, group: str) -> Sequence[Lag]:
        self._require_open("measure the lag")
        return await lag_of(self._link, self._table, self._topics, group)

    async def seek(self, group: str, topic: str, to: Seek) -> None:
        self._require_open("seek")
        found = await self._topics.find(topic)
        await self._table.make()
        await move_group(self._link, self._table, self._topics, group, found, to)
        await self._table.ring(group)
        for subscription in tuple(self._subscriptions):
            if subscription.group == group:
                await subscription.keep_up()

    async def browse(self, topic: str, after: Mapping[int, str] | SeekTo, limit: int) -> Sequence[Delivery]:
        self._require_open("browse")
        return await browse(self._link, await self._topics.find(topic), after, limit)

    async def ends(self, topic: str) -> Mapping[int, str]:
        self._require_open("browse")
        return await ends(self._link, await self._topics.find(topic))

    async def open_reply_box(self, name: str) -> NatsReplyBox:
        self._require_open("open a reply box")
        box = NatsReplyBox(partial(self._require_open, "read replies"))
        await box.open(self._link)
        return box

    async def reply(self, replies: Sequence[Reply]) -> None:
        self._require_open("reply")
        await send_replies(self._link, replies)

    def _forget(self, subscription: NatsSubscription) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    def _require_open(self, tried: str) -> None:
        if not self._is_open:
            raise ClosedError(f"broker {self.url}", tried)
        self._require_loop()

    def _require_loop(self) -> None:
        if self._loop is not asyncio.get_running_loop():
            raise UsageError(
                f"broker {self.url} was opened in another event loop: close it there, or make another one here"
            )
