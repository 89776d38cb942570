"""RabbitMQ as a queue for each partition of each group: replicated, read by one at a time, confirmed both ways."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial

from antiphon.brokers.capabilities import Capabilities
from antiphon.brokers.ports import (
    Delivery,
    Lag,
    Partition,
    Reply,
    Seek,
    Settlement,
    Start,
    SubscribeOptions,
    TopicSpec,
    TopicState,
)
from antiphon.brokers.rabbitmq.codec import ATTEMPTS, Envelope, Positions
from antiphon.brokers.rabbitmq.dead_letters import DeadLetters, refuse_rejections
from antiphon.brokers.rabbitmq.driver import Link
from antiphon.brokers.rabbitmq.filling import Filler
from antiphon.brokers.rabbitmq.later import Later
from antiphon.brokers.rabbitmq.lines import Lines
from antiphon.brokers.rabbitmq.membership import Membership, Settings
from antiphon.brokers.rabbitmq.names import Names
from antiphon.brokers.rabbitmq.notes import Notes
from antiphon.brokers.rabbitmq.outlet import Outlet
from antiphon.brokers.rabbitmq.publishing import Publishing, is_passing
from antiphon.brokers.rabbitmq.registry import Registry
from antiphon.brokers.rabbitmq.replies import RabbitReplyBox, send_replies
from antiphon.brokers.rabbitmq.roster import Roster
from antiphon.brokers.rabbitmq.server import Server
from antiphon.brokers.rabbitmq.standing import Own, Standing
from antiphon.brokers.rabbitmq.subscription import RabbitSubscription
from antiphon.errors import (
    ClosedError,
    ConnectionLostError,
    PublishError,
    Refusal,
    UnsupportedCapabilityError,
    UsageError,
)
from antiphon.events.clock import Clock, SystemClock
from antiphon.events.ids import new_id
from antiphon.events.message import Message, Outgoing

logger = logging.getLogger("antiphon.brokers.rabbitmq")


class RabbitBroker:
    """A virtual host of a RabbitMQ server, 3.10 or later.

    `url` is the driver's (`amqp://user:password@host:port/vhost`), `shown` the one for messages. `prefix` begins all
    names on the server. `hold` is how long a delivery stays with who fetched it, `grace` how long a member may work on
    a partition that is to go elsewhere, `prefetch` how many messages of each partition are here at once.
    """

    def __init__(
        self,
        server: Server,
        *,
        prefix: str = "antiphon",
        hold: timedelta = timedelta(seconds=30),
        grace: timedelta = timedelta(seconds=10),
        prefetch: int = 250,
        max_message_bytes: int = 16 * 1024 * 1024,
        clock: Clock | None = None,
    ) -> None:
        self._shown, self._limit = server.shown, max_message_bytes
        self._clock = clock or SystemClock()
        self._settings = Settings(hold, grace, prefetch)
        self._names = Names(prefix)
        self._link = Link(server, self._restore)
        positions = Positions()
        self._outlet, self._words = Outlet(self._link, positions), Outlet(self._link, positions)
        self._registry = Registry(self._link, self._words, self._names)
        self._lines = Lines(self._link, self._registry, self._names)
        self._publishing = Publishing(self._registry, self._lines, self._outlet, max_message_bytes)
        self._filler = Filler(self._link, self._lines, self._registry, self._names, self._publishing, self._outlet)
        self._later = Later(self._link, self._names, self._clock)
        self._dead_letters = DeadLetters(self._link, self._lines, self._outlet, self._names, hold, self._clock)
        self._own: dict[Membership, Own] = {}
        self._subscriptions: dict[Membership, RabbitSubscription] = {}
        self._standing = Standing(
            self._link, self._registry, self._lines, self._words, self._names, self._own.values(), self._clock
        )
        self._opening = asyncio.Lock()
        self._is_open = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def url(self) -> str:
        return self._shown

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            model="queue",
            durable=True,
            key_order=True,
            groups=True,
            native_delay=True,
            native_dead_letters=True,
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
            for subscription in list(self._subscriptions.values()):
                await subscription.close()
            await self._dead_letters.close()
            await self._registry.close()
            await self._outlet.close()
            await self._words.close()
            await self._link.close()
            self._is_open = False

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        self._require_open("publish")
        refusals = await self._publishing.publish(outgoing) if outgoing else ()
        if refusals:
            raise PublishError(refusals)

    async def subscribe(
        self, group: str, topics: Sequence[str], options: SubscribeOptions = SubscribeOptions()
    ) -> RabbitSubscription:
        self._require_open("subscribe")
        queues, is_first = await self._lines.join(group, topics, takes_waiting=options.start is not Start.END)
        id = f"{options.member or 'member'}-{new_id()}"
        notes = Notes(self._link, self._words, self._names, group)
        name = f"{id} of group {group!r} on {self._shown}"
        subscription = RabbitSubscription(
            name, self._settings.hold, notes, partial(self._copy, group, queues), self._clock
        )
        member = Membership(self._link, subscription, group, id, queues, self._settings, self._clock)
        member.roster = Roster(self._link, self._words, self._names, group, member.word, self._clock, member.look)
        self._own[member] = Own(group, id, subscription.readers)
        self._subscriptions[member] = subscription
        subscription.leave = partial(self._leave, member)
        try:
            await member.join(is_first=is_first)
        except BaseException:
            del self._own[member], self._subscriptions[member]
            raise
        return subscription

    async def ensure_topic(self, spec: TopicSpec) -> None:
        self._require_open("make a topic")
        if spec.keep_for is not None or spec.keep_bytes is not None:
            raise UnsupportedCapabilityError(
                f"topic {spec.name!r} of {self._shown}", "retention", "it keeps a message until it is settled"
            )
        await self._lines.make_topics({spec.name: spec.partitions})
        self._lines.require_same(spec, self._shown)

    async def topics(self) -> Sequence[TopicState]:
        self._require_open("list the topics")
        return await self._standing.topics()

    async def groups(self) -> Sequence[str]:
        self._require_open("list the groups")
        return list(self._registry.groups)

    async def lag(self, group: str) -> Sequence[Lag]:
        self._require_open("measure the lag")
        return await self._standing.lag(group)

    async def seek(self, group: str, topic: str, to: Seek) -> None:
        self._require_open("seek")
        raise UnsupportedCapabilityError(
            f"broker {self._shown}", "replay", f"group {group!r} cannot be moved: a queue forgets what was settled"
        )

    async def open_reply_box(self, name: str) -> RabbitReplyBox:
        self._require_open("open a reply box")
        box = RabbitReplyBox(self._link, self._names, partial(self._require_open, "read replies"))
        await box.open()
        return box

    async def reply(self, replies: Sequence[Reply]) -> None:
        self._require_open("reply")
        await send_replies(self._outlet, self._names, self._limit, replies)

    async def read_dead_letters(self, group: str, limit: int) -> Sequence[Delivery]:
        self._require_open("read dead letters")
        return await self._dead_letters.read(group, limit)

    async def take_dead_letters(self, group: str, limit: int) -> Sequence[Delivery]:
        self._require_open("take dead letters")
        return await self._dead_letters.take(group, limit)

    async def write_dead_letters(self, group: str, kept: Sequence[Outgoing]) -> None:
        self._require_open("write dead letters")
        accepted, refusals = self._publishing.screened(kept)
        refused = await self._dead_letters.write(group, accepted)
        refusals += [
            Refusal(accepted[index].topic, accepted[index].message.id, reason, retryable=is_passing(reason))
            for index, reason in refused.items()
        ]
        if refusals:
            raise PublishError(refusals)

    async def settle_dead_letters(self, settlements: Sequence[Settlement]) -> None:
        self._require_open("settle dead letters")
        refuse_rejections(settlements)
        await self._dead_letters.settle(settlements)

    async def empty(self, group: str, topic: str) -> None:
        """As `Filling.empty`."""
        self._require_open("empty a group")
        await self._filler.empty(group, topic)

    async def fill(self, group: str, partition: Partition, messages: Sequence[Message]) -> None:
        """As `Filling.fill`."""
        self._require_open("fill a group")
        await self._filler.fill(group, partition, messages)

    async def _leave(self, member: Membership) -> None:
        try:
            await member.leave()
        finally:
            self._own.pop(member, None)
            self._subscriptions.pop(member, None)

    async def _copy(self, group: str, queues: Mapping[Partition, str], settlements: Sequence[Settlement]) -> None:
        """Write what is rejected or delayed to where it is kept; returns when the server holds it."""
        rejected = [delivery for delivery, outcome in settlements if outcome.kind == "reject"]
        if rejected:
            await self._dead_letters.keep(group, rejected)
        delayed = [settlement for settlement in settlements if settlement.outcome.kind != "reject"]
        envelopes: list[Envelope] = []
        for delivery, outcome in delayed:
            way, expires = await self._later.way(outcome.delay, queues[delivery.partition])
            attempts = delivery.attempt if outcome.counted else delivery.attempt - 1
            envelopes.append(Envelope(way, delivery.message, {ATTEMPTS: attempts}, expires))
        refused = await self._outlet.send(envelopes, [delivery.position for delivery, _ in delayed])
        if refused:
            why = next(iter(refused.values()))
            raise ConnectionLostError(f"{self._shown} does not keep what comes again later: {why}")

    async def _restore(self) -> None:
        """After a loss: see whether it is the same server with all that was there, and let everybody go on."""
        if self._registry.identity and await self._registry.is_another():
            self._begin_anew()
        if self._registry.identity:
            await self._registry.reopen()
        else:
            await self._registry.open()
        for member in self._own:
            member.look()

    def _begin_anew(self) -> None:
        logger.error(
            "%s lost everything that it held, or is another server: its topics are begun anew, and groups stop",
            self._shown,
        )
        self._registry.begin_anew()
        for member, subscription in self._subscriptions.items():
            partition = next(iter(subscription.readers), Partition("", 0))
            member.fail(partition, "the server was emptied, or is another one")
        self._lines.forget()
        self._later.forget()

    def _require_open(self, tried: str) -> None:
        if not self._is_open:
            raise ClosedError(f"broker {self._shown}", tried)
        self._require_loop()

    def _require_loop(self) -> None:
        if self._loop is not asyncio.get_running_loop():
            raise UsageError(
                f"broker {self._shown} was opened in another event loop: close it there, or make another one here"
            )
