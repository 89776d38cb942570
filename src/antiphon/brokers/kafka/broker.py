"""A Kafka cluster as a broker: a durable partitioned log on many machines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from antiphon.brokers.capabilities import Capabilities
from antiphon.brokers.kafka.client import Admin, KafkaError, KafkaException, error_of
from antiphon.brokers.kafka.faults import DENIED, NOT_IN, UNHEARD, fault
from antiphon.brokers.kafka.fitting import Fitting
from antiphon.brokers.kafka.groups import Groups
from antiphon.brokers.kafka.holdings import Holdings
from antiphon.brokers.kafka.looking import Looker, Span
from antiphon.brokers.kafka.options import (
    Access,
    KafkaOptions,
    common,
    joining,
    listening,
    looking,
    peeking,
    publishing,
    topic_settings,
    transacting,
    watching,
    with_profile,
)
from antiphon.brokers.kafka.places import offset_of, position
from antiphon.brokers.kafka.positions import Positions
from antiphon.brokers.kafka.producing import Publishers
from antiphon.brokers.kafka.reading import Reader
from antiphon.brokers.kafka.replies import KafkaReplyBox
from antiphon.brokers.kafka.subscription import KafkaSubscription
from antiphon.brokers.kafka.tls import disagreement
from antiphon.brokers.kafka.tokens import Tokens
from antiphon.brokers.kafka.topics import Topics
from antiphon.brokers.kafka.transacting import LONGEST, Transactions
from antiphon.brokers.ports import Delivery, Lag, Reply, Seek, SeekTo, SubscribeOptions, TopicSpec, TopicState
from antiphon.brokers.reply_topics import outgoing_replies, reply_topic
from antiphon.errors import (
    AccessDeniedError,
    BrokerError,
    ClosedError,
    ConnectionLostError,
    PublishError,
    UsageError,
)
from antiphon.events.ids import new_id
from antiphon.events.message import Outgoing

_USUAL, _NOBODY = KafkaOptions(), Access()
_LONGEST_GREETING = 10.0
"""Seconds in which a cluster has to answer the first time."""


class Native(NamedTuple):
    """The driver's own objects, for what no port offers."""

    admin: object
    producer: object


class _Open(NamedTuple):
    """What there is while a broker is open."""

    admin: Admin
    positions: Positions
    topics: Topics
    groups: Groups
    fitting: Fitting
    publishers: Publishers
    browsing: Looker
    peeking: Looker


class KafkaBroker:
    """The topics and groups of one Kafka cluster, which other programs may use, too.

    `servers` is one host:port or several, separated by commas. What `options` mean is said with each.
    """

    def __init__(
        self, servers: str, options: KafkaOptions = _USUAL, access: Access = _NOBODY, url: str | None = None
    ) -> None:
        options = with_profile(options)
        self._servers, self._options, self._url = servers, options, url or f"kafka://{servers}"
        self._topic_settings = topic_settings(options)
        self._conf = common(servers, options, access)
        self._subscriptions: list[KafkaSubscription] = []
        self._boxes: list[KafkaReplyBox] = []
        self._opening = asyncio.Lock()
        self._opened: _Open | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._refused: KafkaError | None = None
        self._heard: str | None = None
        """What kept the driver from the cluster, as it said last."""

    @property
    def url(self) -> str:
        return self._url

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            model="log",
            durable=True,
            key_order=True,
            groups=True,
            replay=True,
            seek_time=True,
            transactions=self._options.profile != "event-hubs",
            request_reply=True,
            headers=True,
            max_message_bytes=self._options.max_message_bytes,
        )

    @property
    def native(self) -> Native:
        """The driver's admin client and producer, while it is open."""
        opened = self._require_open("be asked for the driver")
        return Native(opened.admin.native, opened.publishers.native)

    async def open(self) -> None:
        async with self._opening:
            if self._opened is not None:
                self._require_loop()
                return
            self._loop, self._refused, self._heard = asyncio.get_running_loop(), None, None
            patience = self._options.patience
            try:
                # In threads, since the driver waits there for the first token.
                admin = await asyncio.to_thread(Admin, {**self._conf, "error_cb": self._on_error}, patience)
                await self._greet(admin)
                topics = Topics(
                    admin,
                    self._url,
                    self._options.replication or -1,
                    self._topic_settings,
                    keeps_all=self._options.profile != "event-hubs",
                )
                conf = publishing(self._conf, self._options)
                publishers = await asyncio.to_thread(
                    Publishers, conf, patience.total_seconds(), topics.forget, topics.limits
                )
            except KafkaException as error:
                raise await self._unopened(error) from error
            browsing = Looker(looking(self._conf), patience.total_seconds())
            peeks = Looker(peeking(self._conf), patience.total_seconds())
            positions = Positions(lambda group: watching(self._conf, group), patience)
            groups = Groups(admin, positions, topics, peeks, self._url)
            fitting = Fitting(topics, self._options.max_message_bytes)
            self._opened = _Open(admin, positions, topics, groups, fitting, publishers, browsing, peeks)

    async def close(self) -> None:
        async with self._opening:
            if self._opened is None:
                return
            self._require_loop()
            await asyncio.gather(
                *(subscription.close() for subscription in tuple(self._subscriptions)),
                *(box.close() for box in tuple(self._boxes)),
            )
            opened, self._opened = self._opened, None
            await asyncio.gather(
                opened.publishers.close(), opened.positions.close(), opened.browsing.close(), opened.peeking.close()
            )

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        opened = self._require_open("publish")
        accepted, refusals = await opened.fitting.sort_out(outgoing)
        if accepted:
            refusals += await opened.fitting.send(opened.publishers, accepted)
        if refusals:
            places = {one.message.id: place for place, one in enumerate(outgoing)}
            raise PublishError(sorted(refusals, key=lambda refusal: places[refusal.message_id]))

    async def subscribe(
        self, group: str, topics: Sequence[str], options: SubscribeOptions = SubscribeOptions()
    ) -> KafkaSubscription:
        opened = self._require_open("subscribe")
        await opened.topics.require(topics)
        await opened.groups.begin(group, topics, options.start)
        bell, loop = asyncio.Event(), asyncio.get_running_loop()
        holdings = Holdings(lambda: _ring(loop, bell))
        conf = joining(self._conf, group, options.member, self._options)
        grace = self._options.grace.total_seconds()
        try:
            reader = await asyncio.to_thread(
                Reader, conf, opened.positions, group, topics, options, holdings, self._url, grace
            )
        except KafkaException as error:
            raise fault(error, self._url, f"join group {group!r}") from error
        patience = self._options.patience.total_seconds()
        subscription = KafkaSubscription(reader, holdings, bell, opened.admin, opened.positions, patience, self._forget)
        if self.capabilities.transactions:
            conf = transacting(publishing(self._conf, self._options), group, new_id(), LONGEST)
            subscription.transactions = Transactions(
                conf, patience, holdings, reader.commits, opened.positions, self._url, opened.topics.limits
            )
            subscription.fitting = opened.fitting
        self._subscriptions.append(subscription)
        return subscription

    async def ensure_topic(self, spec: TopicSpec) -> None:
        await self._require_open("make a topic").topics.ensure(spec)

    async def topics(self) -> Sequence[TopicState]:
        return await self._require_open("list the topics").topics.states()

    async def groups(self) -> Sequence[str]:
        return await self._require_open("list the groups").groups.names()

    async def lag(self, group: str) -> Sequence[Lag]:
        return await self._require_open("measure the lag").groups.lag(group)

    async def seek(self, group: str, topic: str, to: Seek) -> None:
        """As `Broker.seek`. Members in other processes follow within a second; until then their commits are void."""
        places = await self._require_open("seek").groups.seek(group, topic, to)
        for subscription in tuple(self._subscriptions):
            if subscription.group == group:
                subscription.move(places)

    async def browse(self, topic: str, after: Mapping[int, str] | SeekTo, limit: int) -> Sequence[Delivery]:
        opened = self._require_open("browse")
        partitions = await opened.topics.partitions_of(topic)
        if after is SeekTo.END:
            return []
        places: Mapping[int, str] = {} if isinstance(after, SeekTo) else after
        try:
            starts, ends = await opened.admin.starts(partitions), await opened.admin.ends(partitions)
            spans = {
                partition: Span(max(starts.get(partition, 0), offset_of(places.get(partition.number, "-1")) + 1), end)
                for partition, end in ends.items()
            }
            return await opened.browsing.browse(spans, limit)
        except KafkaException as error:
            raise fault(error, self._url, f"browse topic {topic!r}") from error

    async def ends(self, topic: str) -> Mapping[int, str]:
        opened = self._require_open("browse")
        partitions = await opened.topics.partitions_of(topic)
        try:
            return {p.number: position(end) for p, end in (await opened.admin.ends(partitions)).items()}
        except KafkaException as error:
            raise fault(error, self._url, f"browse topic {topic!r}") from error

    async def open_reply_box(self, name: str) -> KafkaReplyBox:
        """As `Replying.open_reply_box`, over a reply topic, whose readers leave nothing behind."""
        opened, topic = self._require_open("open a reply box"), reply_topic(name)
        await opened.topics.ensure(topic)
        conf, loop = listening(self._conf), asyncio.get_running_loop()
        try:
            ends = await opened.admin.ends(opened.topics.partitions(topic.name))
            box = await asyncio.to_thread(KafkaReplyBox, conf, topic.name, ends, self._url, loop)
        except KafkaException as error:
            raise fault(error, self._url, f"read the replies to {name!r}") from error
        self._boxes.append(box)
        box.on_close = self._forget_box
        return box

    async def reply(self, replies: Sequence[Reply]) -> None:
        """As `Replying.reply`."""
        if outgoing := outgoing_replies(replies):
            await self.publish(outgoing)

    async def _greet(self, admin: Admin) -> None:
        """Wait until a server answers, or says that it will not."""
        deadline = time.monotonic() + _LONGEST_GREETING
        while True:
            try:
                await asyncio.to_thread(admin.brokers, 1.0)
            except KafkaException as error:
                if self._refused is not None:
                    raise KafkaException(self._refused) from error
                if time.monotonic() > deadline:
                    raise
            else:
                return

    async def _unopened(self, error: KafkaException) -> BrokerError:
        """Why it is not open, as far as it can be found out."""
        found = fault(error, self._url, "connect", is_opening=True)
        if isinstance(tokens := self._conf.get("oauth_cb"), Tokens) and tokens.failure is not None:
            return AccessDeniedError(f"cannot connect: {self._url} is shown no token: {tokens.failure}")
        if error_of(error).code() in DENIED:
            return found
        trouble = await asyncio.to_thread(disagreement, self._servers, self._options)
        if trouble is None and self._heard is not None:
            return ConnectionLostError(f"cannot connect: {self._url} does not answer: {self._heard}")
        if trouble is None:
            return found
        kind = BrokerError if trouble.is_certain else ConnectionLostError
        return kind(f"cannot connect: {self._url} and we do not agree on TLS: {trouble.why}")

    def _on_error(self, error: KafkaError) -> None:
        if error.code() in NOT_IN:
            self._refused = error
        elif error.code() in UNHEARD:
            self._heard = error.str()

    def _forget(self, subscription: KafkaSubscription) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    def _forget_box(self, box: KafkaReplyBox) -> None:
        if box in self._boxes:
            self._boxes.remove(box)

    def _require_open(self, tried: str) -> _Open:
        if self._opened is None:
            raise ClosedError(f"broker {self._url}", tried)
        self._require_loop()
        return self._opened

    def _require_loop(self) -> None:
        # What its threads tell reaches no other loop.
        if self._loop is not asyncio.get_running_loop():
            raise UsageError(
                f"broker {self._url} was opened in another event loop: close it there, or make another one here"
            )


def _ring(loop: asyncio.AbstractEventLoop, bell: asyncio.Event) -> None:
    try:
        loop.call_soon_threadsafe(bell.set)
    except RuntimeError:
        return  # the loop has ended, and nobody waits
