"""The broker in a PostgreSQL database: a durable partitioned log for any number of processes and machines."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import uuid4

from antiphon.brokers.capabilities import Capabilities
from antiphon.brokers.ports import Delivery, Lag, Reply, Seek, SeekTo, SubscribeOptions, TopicSpec, TopicState
from antiphon.brokers.postgres.appending import Appender
from antiphon.brokers.postgres.bell import Bell
from antiphon.brokers.postgres.browsing import browse
from antiphon.brokers.postgres.log import LOG, Log, log_migrations
from antiphon.brokers.postgres.membership import Membership
from antiphon.brokers.postgres.publishing import Publications
from antiphon.brokers.postgres.retention import Retention
from antiphon.brokers.postgres.standing import ends_of, group_names, lag_of, move_group
from antiphon.brokers.postgres.subscription import PostgresSubscription
from antiphon.brokers.postgres.topics import Topics
from antiphon.brokers.reply_topics import BrowsedBox, browsed_box, outgoing_replies
from antiphon.errors import ClosedError, PublishError, UsageError
from antiphon.events.message import Outgoing
from antiphon.storage.database import Migration, Transaction
from antiphon.storage.postgres import PostgresDatabase

logger = logging.getLogger("antiphon.brokers.postgres")


class PostgresBroker:
    """A durable partitioned log in one schema of a PostgreSQL database.

    `store` is a URL, or a database whose opening and closing stay the caller's. `lease` is how long a member that is
    not heard of keeps its partitions, by the server's clock. `grace` is how long a member may work on what it was
    handed before a partition moves elsewhere.
    """

    def __init__(
        self,
        store: PostgresDatabase | str,
        *,
        max_message_bytes: int = 16 * 1024 * 1024,
        lease: timedelta = timedelta(seconds=10),
        grace: timedelta = timedelta(seconds=10),
        beat: timedelta = timedelta(milliseconds=250),
    ) -> None:
        self._owns_database = not isinstance(store, PostgresDatabase)
        self._database = store if isinstance(store, PostgresDatabase) else PostgresDatabase(store)
        self._lease, self._grace, self._beat = lease, grace, beat.total_seconds()
        self._max_message_bytes = max_message_bytes
        self._log = Log(self._database)
        self._topics = Topics(self._log)
        self._appender = Appender(self._log, self._topics, max_message_bytes)
        self._publications = Publications(self._log, self._appender)
        self._bell = Bell(self._database)
        self._retention = Retention(self._log)
        self._subscriptions: list[PostgresSubscription] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._opening = asyncio.Lock()
        self._trouble = ""
        self._is_open = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def url(self) -> str:
        return self._database.url

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            model="log",
            durable=True,
            key_order=True,
            groups=True,
            replay=True,
            seek_time=True,
            store_transactions=True,
            request_reply=True,
            headers=True,
            max_message_bytes=self._max_message_bytes,
        )

    @property
    def native(self) -> PostgresDatabase:
        return self._database

    @property
    def database(self) -> PostgresDatabase:
        return self._database

    @property
    def component(self) -> str:
        """As `TableBroker.component`."""
        return LOG

    @property
    def migrations(self) -> Sequence[Migration]:
        """As `TableBroker.migrations`."""
        return log_migrations()

    async def open(self) -> None:
        async with self._opening:
            if self._is_open:
                self._require_loop()
                return
            self._loop = asyncio.get_running_loop()
            await self._database.open()
            try:
                await self._log.open()
            except BaseException:
                await self._close_database()
                raise
            self._topics.forget()
            self._is_open = True
            self._tasks = [
                asyncio.create_task(self._keep_up(), name="antiphon-postgres-leases"),
                asyncio.create_task(self._retention.run(), name="antiphon-postgres-retention"),
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
            await self._publications.close()
            await self._bell.close()
            await self._close_database()
            self._is_open = False  # not before: a call that was cancelled is completed by the next

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        self._require_open("publish")
        batch, refusals = await self._appender.prepare(outgoing)
        if batch.outgoing:
            await self._publications.write(batch)
            self._bell.announce()
        if refusals:
            raise PublishError(refusals)

    async def publish_in(self, tx: Transaction, outgoing: Sequence[Outgoing]) -> None:
        """As `StoreBroker.publish_in`; it is written as the last thing before the commit."""
        self._require_open("publish")
        own = self._log.joined(tx)
        batch, refusals = await self._appender.prepare(outgoing)
        if refusals:
            raise PublishError(refusals)
        if batch.outgoing:
            own.before_commit(self._appender.append, batch)
            own.after_commit(self._bell.announce)

    async def subscribe(
        self, group: str, topics: Sequence[str], options: SubscribeOptions = SubscribeOptions()
    ) -> PostgresSubscription:
        self._require_open("subscribe")
        self._bell.listen()
        membership = Membership(self._log, self._topics, self._lease, group, topics)
        await membership.join(options.member or f"member-{uuid4().hex[:8]}", options.start)
        subscription = PostgresSubscription(
            self._log, self._topics, membership, self._bell, options, self._lease, self._grace, self._forget
        )
        self._bell.announce()
        await subscription.keep_up()
        self._subscriptions.append(subscription)
        return subscription

    async def ensure_topic(self, spec: TopicSpec) -> None:
        self._require_open("make a topic")
        await self._topics.ensure(spec)

    async def topics(self) -> Sequence[TopicState]:
        self._require_open("list the topics")
        return await self._topics.states()

    async def groups(self) -> Sequence[str]:
        self._require_open("list the groups")
        return await group_names(self._database)

    async def lag(self, group: str) -> Sequence[Lag]:
        self._require_open("measure the lag")
        return await lag_of(self._database, group)

    async def seek(self, group: str, topic: str, to: Seek) -> None:
        self._require_open("seek")
        await self._topics.require(topic)
        async with self._log.transaction() as tx:
            await move_group(tx, group, topic, to)
        self._bell.announce()

    async def seek_in(self, tx: Transaction, group: str, topic: str, to: Seek) -> None:
        self._require_open("seek")
        own = self._log.joined(tx)
        await self._topics.require(topic)
        await move_group(own, group, topic, to)
        own.after_commit(self._bell.announce)

    async def browse(self, topic: str, after: Mapping[int, str] | SeekTo, limit: int) -> Sequence[Delivery]:
        self._require_open("browse")
        await self._topics.require(topic)
        return await browse(self._database, topic, after, limit)

    async def ends(self, topic: str) -> Mapping[int, str]:
        self._require_open("browse")
        await self._topics.require(topic)
        return {number: str(head) for _, number, _, head in await ends_of(self._database, topic)}

    async def open_reply_box(self, name: str) -> BrowsedBox:
        """As `Replying.open_reply_box`, over a reply topic, whose readers leave nothing behind."""
        self._require_open("open a reply box")
        self._bell.listen()
        return await browsed_box(self, name, self._bell)

    async def reply(self, replies: Sequence[Reply]) -> None:
        """As `Replying.reply`."""
        outgoing = outgoing_replies(replies)
        if outgoing:
            await self.publish(outgoing)

    async def clean(self) -> int:
        """Delete now what retention need not keep; returns how many messages that was. It happens by itself, too."""
        self._require_open("clean")
        return await self._retention.delete_all(waits=True)

    async def _keep_up(self) -> None:
        """Keep every subscription's leases, whether or not it is fetched from.

        Side by side: one that has to wait for somebody's lock keeps no other from its heartbeat.
        """
        beats: dict[PostgresSubscription, asyncio.Task[None]] = {}
        try:
            while True:
                await asyncio.sleep(self._beat)
                self._note_trouble([beat for beat in beats.values() if beat.done()])
                beats = {each: beat for each, beat in beats.items() if not beat.done()}
                for each in self._subscriptions:
                    if each not in beats:
                        beats[each] = asyncio.create_task(each.keep_up_if_due())
        finally:
            for beat in beats.values():
                beat.cancel()
            await asyncio.gather(*beats.values(), return_exceptions=True)

    def _note_trouble(self, done: Sequence[asyncio.Task[None]]) -> None:
        """Say it once when leases cannot be renewed; the next beat may succeed."""
        errors = [beat.exception() for beat in done]
        trouble = next((str(error) or repr(error) for error in errors if error is not None), "")
        if trouble and trouble != self._trouble:
            logger.warning("leases of %s are not renewed until this is over: %s", self.url, trouble)
        if done:
            self._trouble = trouble

    async def _close_database(self) -> None:
        if self._owns_database:
            await self._database.close()

    def _forget(self, subscription: PostgresSubscription) -> None:
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
