"""The broker on Redis Streams: a log of streams, shared out by leases that the server itself holds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Literal, cast
from uuid import uuid4

from msgspec import Struct

from antiphon.brokers.capabilities import Capabilities
from antiphon.brokers.ports import Delivery, Lag, Reply, Seek, SeekTo, SubscribeOptions, TopicSpec, TopicState
from antiphon.brokers.redis.appending import Appender, Confirmation
from antiphon.brokers.redis.browsing import browse, ends
from antiphon.brokers.redis.driver import Endpoint, Hearing, Link, Links, Native, NotLetInError, native_client, unlike
from antiphon.brokers.redis.membership import Membership
from antiphon.brokers.redis.places import check_names
from antiphon.brokers.redis.reading import BLOCK
from antiphon.brokers.redis.replies import RedisReplyBox, send_replies
from antiphon.brokers.redis.retention import Retention
from antiphon.brokers.redis.scripts import Programs
from antiphon.brokers.redis.standing import lag_of, move_group
from antiphon.brokers.redis.subscription import RedisSubscription
from antiphon.brokers.redis.topics import Topics
from antiphon.errors import AccessDeniedError, ClosedError, UnsupportedCapabilityError, UsageError
from antiphon.events.message import Outgoing

logger = logging.getLogger("antiphon.brokers.redis")

_OLDEST = 7


class RedisOptions(Struct, frozen=True, kw_only=True):
    """How a log is kept in Redis; `from_address` says what each means."""

    prefix: str = "antiphon"
    lease: timedelta = timedelta(seconds=10)
    grace: timedelta = timedelta(seconds=10)
    max_message_bytes: int = 16 * 1024 * 1024
    keep: Literal["all", "unread"] = "all"
    replicas: int = 0
    fsync: bool = False
    connections: int = 8


class RedisBroker:
    """A partitioned log of Redis streams. A topic of N partitions is N streams; groups share them by leases."""

    def __init__(self, endpoint: Endpoint, options: RedisOptions | None = None) -> None:
        options = options or RedisOptions()
        self._endpoint, self._options = endpoint, options
        self._links = Links(endpoint, options.connections)
        self._programs = Programs(options.prefix, endpoint.url)
        self._topics = Topics(self._links, self._programs, endpoint.url)
        patience = max(1, int(endpoint.timeout * 500))  # the answer is to come before we hang up
        confirmation = Confirmation(options.replicas, options.fsync, patience)
        self._appender = Appender(
            self._links, self._programs, self._topics, confirmation, options.max_message_bytes, endpoint.url
        )
        self._retention = Retention(self._links, self._programs, self._topics, only_unread=options.keep == "unread")
        self._native = native_client(endpoint)
        self._subscriptions: list[RedisSubscription] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._opening = asyncio.Lock()
        self._trouble = ""
        self._is_open = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def url(self) -> str:
        return self._endpoint.url

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
            max_message_bytes=self._options.max_message_bytes,
        )

    @property
    def native(self) -> Native:
        return self._native

    async def open(self) -> None:
        async with self._opening:
            if self._is_open:
                self._require_loop()
                return
            self._loop = asyncio.get_running_loop()
            self._links.reopen()
            try:
                await self._check_server()
                key = self._programs.id_key
                _, id = await self._links.ask(("SET", key, uuid4().hex, "NX"), ("GET", key))
                self._programs.adopt(cast("bytes", id))
                self._topics.forget()
            except BaseException as error:
                await self._links.close()
                if isinstance(error, NotLetInError):
                    raise AccessDeniedError(str(error)) from error.__cause__
                if (odds := await unlike(error, self._endpoint)) is not None:
                    raise odds from error.__cause__
                raise
            self._is_open = True
            self._tasks = [
                asyncio.create_task(self._keep_up(), name="antiphon-redis-leases"),
                asyncio.create_task(self._retention.run(), name="antiphon-redis-retention"),
            ]

    async def close(self) -> None:
        async with self._opening:
            if not self._is_open:
                return
            self._require_loop()
            for subscription in tuple(self._subscriptions):
                await subscription.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._links.close()
            await self._native.aclose(close_connection_pool=True)
            self._is_open = False  # not before: a call that was canceled is completed by the next

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        self._require_open("publish")
        if outgoing:
            await self._appender.publish(outgoing)

    async def subscribe(
        self, group: str, topics: Sequence[str], options: SubscribeOptions = SubscribeOptions()
    ) -> RedisSubscription:
        self._require_open("subscribe")
        check_names(group, *topics)
        membership = Membership(self._links, self._programs, self._topics, self._options.lease, group, topics)
        await membership.join(options.member or f"member-{uuid4().hex[:8]}", options.start)
        link = Link(self._endpoint, patience=BLOCK)
        prefix, grace = self._options.prefix, self._options.grace
        subscription = RedisSubscription(self._links, link, membership, prefix, options, grace, self._forget)
        self._subscriptions.append(subscription)
        try:
            await subscription.keep_up()
        except BaseException:
            await subscription.close()
            raise
        return subscription

    async def ensure_topic(self, spec: TopicSpec) -> None:
        self._require_open("make a topic")
        check_names(spec.name)
        await self._topics.ensure(spec)

    async def topics(self) -> Sequence[TopicState]:
        self._require_open("list the topics")
        return await self._topics.states()

    async def groups(self) -> Sequence[str]:
        self._require_open("list the groups")
        (found,) = await self._links.ask(("SMEMBERS", f"{self._options.prefix}:groups"))
        return sorted(name.decode() for name in cast("list[bytes]", found))

    async def lag(self, group: str) -> Sequence[Lag]:
        self._require_open("measure the lag")
        return await lag_of(self._links, self._programs, group)

    async def seek(self, group: str, topic: str, to: Seek) -> None:
        self._require_open("seek")
        await move_group(self._links, self._programs, self._topics, group, topic, to)
        # Those of other processes learn of it by the group's news.
        await asyncio.gather(*(each.keep_up() for each in tuple(self._subscriptions) if each.group == group))

    async def browse(self, topic: str, after: Mapping[int, str] | SeekTo, limit: int) -> Sequence[Delivery]:
        """As `Browsing.browse`."""
        self._require_open("browse")
        return await browse(self._links, self._programs, await self._topics.lanes(topic), after, limit)

    async def ends(self, topic: str) -> Mapping[int, str]:
        """As `Browsing.ends`."""
        self._require_open("browse")
        return await ends(self._links, self._programs, await self._topics.lanes(topic))

    async def open_reply_box(self, name: str) -> RedisReplyBox:
        """As `Replying.open_reply_box`."""
        self._require_open("open a reply box")
        box = RedisReplyBox(Hearing(self._endpoint), self._options.prefix, partial(self._require_open, "read replies"))
        await box.open()
        return box

    async def reply(self, replies: Sequence[Reply]) -> None:
        """As `Replying.reply`."""
        self._require_open("reply")
        await send_replies(self._links, self._options.prefix, self._options.max_message_bytes, replies)

    async def clean(self) -> int:
        """Delete now what retention need not keep; returns how many messages that was. It happens by itself, too."""
        self._require_open("clean")
        return await self._retention.delete_all()

    async def _check_server(self) -> None:
        """Whether the server can do what is needed, and what of its settings a user should know."""
        (reply,) = await self._links.ask(("INFO",))
        info = dict(line.split(":", 1) for line in cast("bytes", reply).decode().splitlines() if ":" in line)
        version = info.get("redis_version", "0")
        if int(version.partition(".")[0]) < _OLDEST:
            raise UnsupportedCapabilityError(
                self.url, "counted entries", f"it is Redis {version}, and needs 7.0 at least, or any Valkey"
            )
        if self._options.fsync and tuple(map(int, version.split(".")[:2])) < (7, 2):
            raise UnsupportedCapabilityError(
                self.url, "WAITAOF", f"it is Redis {version}; confirm=disk needs 7.2 at least, or any Valkey"
            )
        if info.get("maxmemory_policy", "").startswith("allkeys"):
            logger.warning(
                "%s drops any key when its memory is full (%s), messages as well: set maxmemory-policy to noeviction",
                self.url,
                info["maxmemory_policy"],
            )

    async def _keep_up(self) -> None:
        """Keep every subscription's leases, whether or not it is fetched from."""
        beat = min(1.0, self._options.lease.total_seconds() / 5)
        while True:
            await asyncio.sleep(beat)
            trouble = ""
            found = await asyncio.gather(
                *(subscription.keep_up() for subscription in tuple(self._subscriptions)), return_exceptions=True
            )
            for error in found:
                trouble = str(error) if isinstance(error, Exception) else trouble
            if trouble and trouble != self._trouble:
                logger.warning("leases on %s are not renewed until this is over: %s", self.url, trouble)
            self._trouble = trouble

    def _forget(self, subscription: RedisSubscription) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    def _require_open(self, tried: str) -> None:
        if not self._is_open:
            raise ClosedError(f"broker {self.url}", tried)
        self._require_loop()

    def _require_loop(self) -> None:
        # In another loop nothing keeps its leases, and what it waits for never comes.
        if self._loop is not asyncio.get_running_loop():
            raise UsageError(
                f"broker {self.url} was opened in another event loop: close it there, or make another one here"
            )
