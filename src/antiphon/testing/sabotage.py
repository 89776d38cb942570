"""Brokers that break one promise each: whoever relies on the promise must notice.

Every saboteur wraps a working broker. They prove that a suite, or your own test, can fail; they are no models of
real faults.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from itertools import count
from typing import cast

from msgspec import structs

from antiphon.brokers.capabilities import Capabilities
from antiphon.brokers.ports import (
    DONE,
    Broker,
    Browsing,
    DeadLettering,
    Delivery,
    Lag,
    LogSubscription,
    Notice,
    Partition,
    QueueSubscription,
    Reply,
    ReplyBox,
    Replying,
    Seek,
    SeekTo,
    Settlement,
    StoreBroker,
    StoreLogSubscription,
    StoreQueueSubscription,
    SubscribeOptions,
    Subscription,
    TopicSpec,
    TopicState,
    TransactionalSubscription,
)
from antiphon.errors import LeaseLostError, PublishError
from antiphon.events.message import NO_EXTENSIONS, Outgoing
from antiphon.storage.database import Database, Transaction

_DEFAULTS = SubscribeOptions()


class Saboteur:
    """Passes everything on. A subclass spoils what it is named after."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        """The working broker behind it."""

    @property
    def url(self) -> str:
        return self.broker.url

    @property
    def capabilities(self) -> Capabilities:
        return self.broker.capabilities

    @property
    def native(self) -> object:
        return self.broker.native

    @property
    def database(self) -> Database:
        return cast(StoreBroker, self.broker).database

    async def open(self) -> None:
        await self.broker.open()

    async def close(self) -> None:
        await self.broker.close()

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        await self.broker.publish(outgoing)

    async def publish_in(self, tx: Transaction, outgoing: Sequence[Outgoing]) -> None:
        await cast(StoreBroker, self.broker).publish_in(tx, outgoing)

    async def seek_in(self, tx: Transaction, group: str, topic: str, to: Seek) -> None:
        await cast(StoreBroker, self.broker).seek_in(tx, group, topic, to)

    async def subscribe(self, group: str, topics: Sequence[str], options: SubscribeOptions = _DEFAULTS) -> Subscription:
        subscription = await self.broker.subscribe(group, topics, options)
        if self.capabilities.model == "log":
            return SabotagedLog(self, cast(StoreLogSubscription, subscription))
        return SabotagedQueue(self, cast(StoreQueueSubscription, subscription))

    async def ensure_topic(self, spec: TopicSpec) -> None:
        await self.broker.ensure_topic(spec)

    async def topics(self) -> Sequence[TopicState]:
        return await self.broker.topics()

    async def groups(self) -> Sequence[str]:
        return await self.broker.groups()

    async def lag(self, group: str) -> Sequence[Lag]:
        return await self.broker.lag(group)

    async def seek(self, group: str, topic: str, to: Seek) -> None:
        await self.broker.seek(group, topic, to)

    async def browse(self, topic: str, after: Mapping[int, str] | SeekTo, limit: int) -> Sequence[Delivery]:
        return await cast(Browsing, self.broker).browse(topic, after, limit)

    async def ends(self, topic: str) -> Mapping[int, str]:
        return await cast(Browsing, self.broker).ends(topic)

    async def read_dead_letters(self, group: str, limit: int) -> Sequence[Delivery]:
        return await cast(DeadLettering, self.broker).read_dead_letters(group, limit)

    async def take_dead_letters(self, group: str, limit: int) -> Sequence[Delivery]:
        return await cast(DeadLettering, self.broker).take_dead_letters(group, limit)

    async def write_dead_letters(self, group: str, kept: Sequence[Outgoing]) -> None:
        await cast(DeadLettering, self.broker).write_dead_letters(group, kept)

    async def settle_dead_letters(self, settlements: Sequence[Settlement]) -> None:
        await cast(DeadLettering, self.broker).settle_dead_letters(settlements)

    async def open_reply_box(self, name: str) -> ReplyBox:
        return await cast(Replying, self.broker).open_reply_box(name)

    async def reply(self, replies: Sequence[Reply]) -> None:
        await cast(Replying, self.broker).reply(replies)

    async def fetch(
        self, subscription: Subscription, limit: int, max_bytes: int, wait: timedelta
    ) -> Sequence[Delivery]:
        """Every fetch of every subscription comes through here."""
        return await subscription.fetch(limit, max_bytes, wait)

    async def commit(self, subscription: LogSubscription, watermarks: Mapping[Partition, str]) -> None:
        await subscription.commit(watermarks)

    async def commit_in(
        self,
        subscription: StoreLogSubscription,
        tx: Transaction,
        watermarks: Mapping[Partition, str],
        held: Collection[Partition],
    ) -> None:
        await subscription.commit_in(tx, watermarks, held)

    async def commit_with(
        self,
        subscription: TransactionalSubscription,
        watermarks: Mapping[Partition, str],
        outgoing: Sequence[Outgoing],
    ) -> None:
        await subscription.commit_with(watermarks, outgoing)

    async def settle(self, subscription: QueueSubscription, settlements: Sequence[Settlement]) -> None:
        await subscription.settle(settlements)

    async def settle_in(
        self, subscription: StoreQueueSubscription, tx: Transaction, settlements: Sequence[Settlement]
    ) -> None:
        await subscription.settle_in(tx, settlements)

    def pause(self, subscription: LogSubscription, partitions: Sequence[Partition]) -> None:
        subscription.pause(partitions)

    def pause_topic(self, subscription: Subscription, topic: str) -> None:
        subscription.pause_topic(topic)

    def notices(self, subscription: LogSubscription) -> Sequence[Notice]:
        return subscription.notices()


class SabotagedLog:
    """A log's subscription in the hands of a saboteur."""

    def __init__(self, saboteur: Saboteur, inner: StoreLogSubscription) -> None:
        self.saboteur, self.inner = saboteur, inner

    async def fetch(self, limit: int, max_bytes: int, wait: timedelta) -> Sequence[Delivery]:
        return await self.saboteur.fetch(self.inner, limit, max_bytes, wait)

    async def commit(self, watermarks: Mapping[Partition, str]) -> None:
        await self.saboteur.commit(self.inner, watermarks)

    async def commit_in(
        self, tx: Transaction, watermarks: Mapping[Partition, str], held: Collection[Partition] = ()
    ) -> None:
        await self.saboteur.commit_in(self.inner, tx, watermarks, held)

    async def commit_with(self, watermarks: Mapping[Partition, str], outgoing: Sequence[Outgoing]) -> None:
        await self.saboteur.commit_with(cast(TransactionalSubscription, self.inner), watermarks, outgoing)

    def pause(self, partitions: Sequence[Partition]) -> None:
        self.saboteur.pause(self.inner, partitions)

    def resume(self, partitions: Sequence[Partition]) -> None:
        self.inner.resume(partitions)

    def pause_topic(self, topic: str) -> None:
        self.saboteur.pause_topic(self.inner, topic)

    def resume_topic(self, topic: str) -> None:
        self.inner.resume_topic(topic)

    def is_before(self, one: str, other: str) -> bool:
        return self.inner.is_before(one, other)

    def notices(self) -> Sequence[Notice]:
        return self.saboteur.notices(self.inner)

    async def close(self) -> None:
        await self.inner.close()


class SabotagedQueue:
    """A queue's subscription in the hands of a saboteur."""

    def __init__(self, saboteur: Saboteur, inner: StoreQueueSubscription) -> None:
        self.saboteur, self.inner = saboteur, inner

    @property
    def hold(self) -> timedelta:
        return self.inner.hold

    async def fetch(self, limit: int, max_bytes: int, wait: timedelta) -> Sequence[Delivery]:
        return await self.saboteur.fetch(self.inner, limit, max_bytes, wait)

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        await self.saboteur.settle(self.inner, settlements)

    async def settle_in(self, tx: Transaction, settlements: Sequence[Settlement]) -> None:
        await self.saboteur.settle_in(self.inner, tx, settlements)

    async def extend(self, deliveries: Sequence[Delivery]) -> None:
        await self.inner.extend(deliveries)

    def pause_topic(self, topic: str) -> None:
        self.saboteur.pause_topic(self.inner, topic)

    def resume_topic(self, topic: str) -> None:
        self.inner.resume_topic(topic)

    async def close(self) -> None:
        await self.inner.close()


class Dropping(Saboteur):
    """Confirms every message and holds all but each seventh."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        self._numbers = count(1)

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        await self.broker.publish([each for each in outgoing if next(self._numbers) % 7])


class Duplicating(Saboteur):
    """Holds each fifth message twice."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        self._numbers = count(1)

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        await self.broker.publish([copy for each in outgoing for copy in [each] * (1 + (not next(self._numbers) % 5))])


class Reordering(Saboteur):
    """Holds the messages of a batch the other way round."""

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        await self.broker.publish(outgoing[::-1])


class ForgettingLeases(Saboteur):
    """Lets every member of a group own everything."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        self._numbers = count(1)

    async def subscribe(self, group: str, topics: Sequence[str], options: SubscribeOptions = _DEFAULTS) -> Subscription:
        return await super().subscribe(f"{group}-{next(self._numbers)}", topics, options)


class ForgettingFences(Saboteur):
    """Lets a transaction settle what its owner has lost."""

    async def commit_in(
        self,
        subscription: StoreLogSubscription,
        tx: Transaction,
        watermarks: Mapping[Partition, str],
        held: Collection[Partition],
    ) -> None:
        try:
            await subscription.commit_in(tx, watermarks, held)
        except LeaseLostError:
            return

    async def settle_in(
        self, subscription: StoreQueueSubscription, tx: Transaction, settlements: Sequence[Settlement]
    ) -> None:
        try:
            await subscription.settle_in(tx, settlements)
        except LeaseLostError:
            return


class FencingOnlyMoves(Saboteur):
    """Lets a transaction carry work of what its owner has lost, where no watermark moves."""

    async def commit_in(
        self,
        subscription: StoreLogSubscription,
        tx: Transaction,
        watermarks: Mapping[Partition, str],
        held: Collection[Partition],
    ) -> None:
        await subscription.commit_in(tx, watermarks)


class ConfirmingEarly(Saboteur):
    """Confirms a batch before it holds it: until the next batch comes, an end of the process loses it."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        self._unheld: list[Outgoing] = []

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        unheld, self._unheld = self._unheld, list(outgoing)
        await self.broker.publish(unheld)


class SwallowingRefusals(Saboteur):
    """Does not say what it refused."""

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        try:
            await self.broker.publish(outgoing)
        except PublishError:
            return


class IgnoringSettlement(Saboteur):
    """Does nothing when something is settled."""

    async def commit(self, subscription: LogSubscription, watermarks: Mapping[Partition, str]) -> None:
        return

    async def settle(self, subscription: QueueSubscription, settlements: Sequence[Settlement]) -> None:
        return


class SettlingEarly(Saboteur):
    """Settles what it hands out, before it was handled."""

    async def fetch(
        self, subscription: Subscription, limit: int, max_bytes: int, wait: timedelta
    ) -> Sequence[Delivery]:
        deliveries = await subscription.fetch(limit, max_bytes, wait)
        if self.capabilities.model == "log":
            await cast(LogSubscription, subscription).commit({each.partition: each.position for each in deliveries})
        else:
            settlements = [Settlement(each, DONE) for each in deliveries]
            await cast(QueueSubscription, subscription).settle(settlements)
        return deliveries


class LosingDeadLetters(Saboteur):
    """Forgets what is rejected."""

    async def settle(self, subscription: QueueSubscription, settlements: Sequence[Settlement]) -> None:
        await subscription.settle(
            [Settlement(each, DONE if outcome.kind == "reject" else outcome) for each, outcome in settlements]
        )


class LosingExtensions(Saboteur):
    """Keeps only the attributes that it knows."""

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        await self.broker.publish(
            [Outgoing(topic, structs.replace(message, extensions=NO_EXTENSIONS)) for topic, message in outgoing]
        )


class LosingWhatIsCanceled(Saboteur):
    """Takes messages for a fetch that nobody waits for any more."""

    async def fetch(
        self, subscription: Subscription, limit: int, max_bytes: int, wait: timedelta
    ) -> Sequence[Delivery]:
        return await asyncio.shield(asyncio.create_task(_fetch(subscription, limit, max_bytes, wait)))


class IgnoringPause(Saboteur):
    """Goes on fetching from a paused partition."""

    def pause(self, subscription: LogSubscription, partitions: Sequence[Partition]) -> None:
        return


class IgnoringTopicPause(Saboteur):
    """Goes on fetching from a paused topic."""

    def pause_topic(self, subscription: Subscription, topic: str) -> None:
        return


class ConcealingLosses(Saboteur):
    """Does not tell who owns what."""

    def notices(self, subscription: LogSubscription) -> Sequence[Notice]:
        subscription.notices()
        return ()


class LeakingTransactions(Saboteur):
    """Publishes at once what was to come with the commit."""

    async def publish_in(self, tx: Transaction, outgoing: Sequence[Outgoing]) -> None:
        await self.broker.publish(outgoing)


class PublishingApart(Saboteur):
    """Publishes first what was to leave with the watermark."""

    async def commit_with(
        self,
        subscription: TransactionalSubscription,
        watermarks: Mapping[Partition, str],
        outgoing: Sequence[Outgoing],
    ) -> None:
        await self.broker.publish(outgoing)
        await subscription.commit_with(watermarks, ())


class LosingReplies(Saboteur):
    """Sends every second reply nowhere."""

    async def reply(self, replies: Sequence[Reply]) -> None:
        await super().reply(replies[1::2])


class MixingUpReplies(Saboteur):
    """Sends each reply to the address of another one."""

    async def reply(self, replies: Sequence[Reply]) -> None:
        addresses = [reply.address for reply in replies]
        await super().reply(
            [
                Reply(address, each.message)
                for address, each in zip([*addresses[1:], *addresses[:1]], replies, strict=True)
            ]
        )


async def _fetch(subscription: Subscription, limit: int, max_bytes: int, wait: timedelta) -> Sequence[Delivery]:
    return await subscription.fetch(limit, max_bytes, wait)


SABOTEURS: Sequence[type[Saboteur]] = (
    Dropping,
    Duplicating,
    Reordering,
    ForgettingLeases,
    ForgettingFences,
    FencingOnlyMoves,
    ConfirmingEarly,
    SwallowingRefusals,
    IgnoringSettlement,
    SettlingEarly,
    LosingDeadLetters,
    LosingExtensions,
    LosingWhatIsCanceled,
    IgnoringPause,
    IgnoringTopicPause,
    ConcealingLosses,
    LeakingTransactions,
    PublishingApart,
    LosingReplies,
    MixingUpReplies,
)
"""Every saboteur. What concerns only one of the two models passes on everything in the other."""
