"""RabbitMQ as a log: each partition a stream, each group's course in a stream of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial

from antiphon.brokers.capabilities import Capabilities
from antiphon.brokers.ports import Delivery, Lag, Reply, Seek, SeekTo, SubscribeOptions, TopicSpec, TopicState
from antiphon.brokers.rabbitmq.codec import Positions, route
from antiphon.brokers.rabbitmq.course import Mark
from antiphon.brokers.rabbitmq.driver import Link
from antiphon.brokers.rabbitmq.log_group import LogGroup
from antiphon.brokers.rabbitmq.log_standing import LogStanding
from antiphon.brokers.rabbitmq.log_subscription import LogSettings, RabbitLogSubscription
from antiphon.brokers.rabbitmq.names import Names, log_arguments
from antiphon.brokers.rabbitmq.outlet import Outlet
from antiphon.brokers.rabbitmq.publishing import Publishing
from antiphon.brokers.rabbitmq.registry import Registry
from antiphon.brokers.rabbitmq.replies import RabbitReplyBox, send_replies
from antiphon.brokers.rabbitmq.server import Server
from antiphon.errors import ClosedError, PublishError, StoreCorruptError, UnsupportedCapabilityError, UsageError
from antiphon.events.message import Outgoing

logger = logging.getLogger("antiphon.brokers.rabbitmq")
_PARTITIONS = TopicSpec("any").partitions


class Streams:
    """Makes the streams of topics, and knows the way to them."""

    def __init__(self, link: Link, registry: Registry, names: Names) -> None:
        self._link, self._registry, self._names = link, registry, names
        self._routes: dict[tuple[str, int], bytes] = {}

    def known(self, topic: str, number: int) -> bytes | None:
        """As `Roads.known`."""
        return self._routes.get((topic, number))

    def forget(self, topic: str | None = None) -> None:
        """As `Roads.forget`."""
        self._routes = {place: way for place, way in self._routes.items() if topic not in (None, place[0])}

    async def make_topics(self, partitions: Mapping[str, int | None]) -> None:
        """As `Roads.make_topics`. A stream is made when it is first published to or read."""
        for name in partitions:
            self._names.stream(name, 9_999)  # which says so, where the name is too long
        await self._registry.make_topics({name: count or _PARTITIONS for name, count in partitions.items()})

    async def open_routes(self, places: Iterable[tuple[str, int]]) -> None:
        """As `Roads.open_routes`."""
        missing = [place for place in dict.fromkeys(places) if place not in self._routes]
        await asyncio.gather(*(self._make(self._names.stream(*place)) for place in missing))
        # Whoever looks at a topic looks only at the streams that are written down.
        await self._registry.note_waiting(place for place in missing if not self._registry.has_waiting(*place))
        for place in missing:
            self._routes[place] = route("", self._names.stream(*place))

    async def mend(self, places: Sequence[tuple[str, int]]) -> None:
        """As `Roads.mend`."""
        await self.open_routes(places)

    async def _make(self, stream: str) -> None:
        await self._link.do(lambda lane: lane.declare_queue(stream, log_arguments()))


class RabbitLogBroker:
    """A virtual host of a RabbitMQ server, 3.10 or later, whose topics are streams.

    `url`, `shown`, `prefix` and `grace` are as those of `RabbitBroker`; `lease` is how long a member that is not heard
    keeps its partitions, `prefetch` how many messages of each partition are read ahead.
    """

    def __init__(
        self,
        server: Server,
        *,
        prefix: str = "antiphon",
        lease: timedelta = timedelta(seconds=10),
        grace: timedelta = timedelta(seconds=10),
        prefetch: int = 1_000,
        max_message_bytes: int = 16 * 1024 * 1024,
    ) -> None:
        self._shown, self._limit = server.shown, max_message_bytes
        self._settings = LogSettings(lease, grace, prefetch)
        self._names = Names(prefix)
        self._link = Link(server, self._restore)
        positions = Positions()
        self._outlet, self._words = Outlet(self._link, positions), Outlet(self._link, positions)
        self._registry = Registry(self._link, self._words, self._names, self._names.log_registry)
        self._streams = Streams(self._link, self._registry, self._names)
        self._publishing = Publishing(self._registry, self._streams, self._outlet, max_message_bytes)
        self._standing = LogStanding(self._link, self._registry, self._names)
        self._groups: dict[str, LogGroup] = {}
        self._joining = asyncio.Lock()
        self._subscriptions: list[RabbitLogSubscription] = []
        self._opening = asyncio.Lock()
        self._is_open = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def url(self) -> str:
        return self._shown

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            model="log",
            durable=True,
            key_order=True,
            groups=True,
            replay=True,
            seek_time=True,
            request_reply=True,
            headers=True,
            max_message_bytes=self._limit,
        )

    @property
    def native(self) -> object:
        """The connection of aio-pika, another one after each loss; None before it is open."""
        return self._link.native

    async def open(self) -> None:
        async with self._opening:
            if self._is_open:
                self._require_loop()
                return
            self._loop = asyncio.get_running_loop()
            await self._link.open()
            try:
                await self._registry.open()
            except BaseException:
                await self._link.close()
                raise
            self._is_open = True

    async def close(self) -> None:
        async with self._opening:
            if not self._is_open:
                return
            self._require_loop()
            for subscription in tuple(self._subscriptions):
                await subscription.close()
            for group in self._groups.values():
                await group.close()
            self._groups.clear()
            await self._registry.close()
            await self._outlet.close()
            await self._words.close()
            await self._link.close()
            self._streams.forget()
            self._is_open = False

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        self._require_open("publish")
        refusals = await self._publishing.publish(outgoing) if outgoing else ()
        if refusals:
            raise PublishError(refusals)

    async def subscribe(
        self, group: str, topics: Sequence[str], options: SubscribeOptions = SubscribeOptions()
    ) -> RabbitLogSubscription:
        self._require_open("subscribe")
        topics = list(dict.fromkeys(topics))
        await self._streams.make_topics(dict.fromkeys(topics))
        await self._registry.join(group, topics, takes_waiting=False)
        read = {topic: self._registry.topics[topic] for topic in topics}
        await self._streams.open_routes((topic, number) for topic, count in read.items() for number in range(count))
        subscription = RabbitLogSubscription(
            self._link, self._names, await self._group(group), read, options, self._settings, self._subscriptions.remove
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
        if spec.keep_for is not None or spec.keep_bytes is not None:
            raise UnsupportedCapabilityError(
                f"topic {spec.name!r} of {self._shown}",
                "retention",
                "what a stream keeps is said on the server, as by rabbitmqctl set_policy with max-age and "
                "max-length-bytes",
            )
        await self._streams.make_topics({spec.name: spec.partitions})
        if (held := self._registry.topics[spec.name]) != spec.partitions:
            raise UnsupportedCapabilityError(
                f"topic {spec.name!r} of {self._shown}",
                "change of partitions",
                f"it has {held} and cannot have {spec.partitions}, since keys would move: "
                "make a topic with another name",
            )

    async def topics(self) -> Sequence[TopicState]:
        self._require_open("list the topics")
        return await self._standing.topics()

    async def groups(self) -> Sequence[str]:
        self._require_open("list the groups")
        return list(self._registry.groups)

    async def lag(self, group: str) -> Sequence[Lag]:
        self._require_open("measure the lag")
        if group not in self._registry.groups:
            return []
        found = await self._group(group)
        await found.look()
        return await self._standing.lag(group, found.course)

    async def seek(self, group: str, topic: str, to: Seek) -> None:
        self._require_open("seek")
        places = await self._standing.targets(topic, to)
        await self._registry.join(group, [topic], takes_waiting=False)
        await (await self._group(group)).write([Mark("seek", places=places)])

    async def browse(self, topic: str, after: Mapping[int, str] | SeekTo, limit: int) -> Sequence[Delivery]:
        self._require_open("browse")
        return await self._standing.browse(topic, after, limit)

    async def ends(self, topic: str) -> Mapping[int, str]:
        self._require_open("browse")
        return {number: str(end) for number, _, end in await self._standing.spans(topic)}

    async def open_reply_box(self, name: str) -> RabbitReplyBox:
        self._require_open("open a reply box")
        box = RabbitReplyBox(self._link, self._names, partial(self._require_open, "read replies"))
        await box.open()
        return box

    async def reply(self, replies: Sequence[Reply]) -> None:
        self._require_open("reply")
        await send_replies(self._outlet, self._names, self._limit, replies)

    async def _group(self, name: str) -> LogGroup:
        """The group as this process follows it, from the first time on that it is asked for."""
        async with self._joining:
            if name not in self._groups:
                group = LogGroup(self._link, self._words, self._names, name)
                await group.open()
                self._groups[name] = group
            return self._groups[name]

    async def _restore(self) -> None:
        """After a loss: see whether it is the same server with all that was there, and let everybody go on."""
        if self._registry.identity and await self._registry.is_another():
            self._begin_anew()
        if not self._registry.identity:
            await self._registry.open()
            return
        await self._registry.reopen()
        for group in self._groups.values():
            await group.reopen()

    def _begin_anew(self) -> None:
        logger.error(
            "%s lost everything that it held, or is another server: its topics are begun anew, and groups stop",
            self._shown,
        )
        self._registry.begin_anew()
        self._streams.forget()
        self._groups.clear()
        for subscription in self._subscriptions:
            subscription.end(StoreCorruptError(f"{self._shown} lost everything that it held, or is another server"))

    def _require_open(self, tried: str) -> None:
        if not self._is_open:
            raise ClosedError(f"broker {self._shown}", tried)
        self._require_loop()

    def _require_loop(self) -> None:
        if self._loop is not asyncio.get_running_loop():
            raise UsageError(
                f"broker {self._shown} was opened in another event loop: close it there, or make another one here"
            )
