"""The broker in a file: a durable partitioned log in SQLite, for one machine and any number of its processes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from importlib.resources import files
from os import PathLike
from pathlib import Path
from uuid import uuid4

from antiphon.brokers.capabilities import Capabilities
from antiphon.brokers.embedded.appending import Appender
from antiphon.brokers.embedded.browsing import browse, ends
from antiphon.brokers.embedded.calls import Calls
from antiphon.brokers.embedded.doorbell import Doorbell
from antiphon.brokers.embedded.group_commit import GroupCommit, joined
from antiphon.brokers.embedded.life import Duty, sweep
from antiphon.brokers.embedded.membership import Membership
from antiphon.brokers.embedded.retention import Retention
from antiphon.brokers.embedded.standing import group_names, lag_of, member_tokens, move_group
from antiphon.brokers.embedded.subscription import EmbeddedSubscription
from antiphon.brokers.embedded.topics import Topics
from antiphon.brokers.ports import Delivery, Lag, Reply, Seek, SeekTo, SubscribeOptions, TopicSpec, TopicState
from antiphon.brokers.reply_topics import BrowsedBox, browsed_box, outgoing_replies
from antiphon.errors import ClosedError, PublishError, UsageError
from antiphon.events.clock import Clock, SystemClock
from antiphon.events.message import Outgoing
from antiphon.storage.database import Migration, Transaction
from antiphon.storage.migrations import load_migrations
from antiphon.storage.sqlite import SqliteDatabase, SqliteTransaction

logger = logging.getLogger("antiphon.brokers.embedded")

LOG = "embedded"
"""What the tables of the log are called among all that have tables in a file."""
_MIGRATIONS = files("antiphon.brokers.embedded").joinpath("sql", "migrations")


def log_migrations() -> Sequence[Migration]:
    """How the tables of the log come to be, in order."""
    return load_migrations(_MIGRATIONS)


class EmbeddedBroker:
    """A durable partitioned log in one SQLite file, shared by the processes of one machine.

    `store` is the path of the file, ":memory:", or a database whose opening and closing stay the caller's.
    `lease` is how long a member that hangs keeps its partitions; one whose process died loses them within
    `beat`. `grace` is how long a member may work on what it was handed before a partition moves elsewhere.
    """

    def __init__(
        self,
        store: SqliteDatabase | str | PathLike[str],
        *,
        max_message_bytes: int = 16 * 1024 * 1024,
        lease: timedelta = timedelta(seconds=10),
        grace: timedelta = timedelta(seconds=10),
        beat: timedelta = timedelta(milliseconds=250),
        clock: Clock | None = None,
    ) -> None:
        self._owns_database = not isinstance(store, SqliteDatabase)
        self._database = store if isinstance(store, SqliteDatabase) else SqliteDatabase(store)
        self._clock = clock or SystemClock()
        self._lease, self._grace, self._beat = lease, grace, beat.total_seconds()
        self._max_message_bytes = max_message_bytes
        self._topics = Topics(self._database, self.url)
        self._appender = Appender(self._topics, self._clock, max_message_bytes)
        self._writes = GroupCommit(self._database)
        self._folder = None if self._database.path == ":memory:" else Path(f"{self._database.path}.members")
        self._bell = Doorbell(self._database, Calls(self._folder))
        self._retention = Retention(
            self._database, self._writes, self._clock, Duty(self._folder, "retention"), timedelta(seconds=1)
        )
        self._subscriptions: list[EmbeddedSubscription] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._opening = asyncio.Lock()
        self._trouble = ""
        self._is_open = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def url(self) -> str:
        return f"embedded:///{self._database.path}"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            model="log",
            durable=self._database.path != ":memory:",
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
    def native(self) -> SqliteDatabase:
        return self._database

    @property
    def database(self) -> SqliteDatabase:
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
                await self._database.migrate(LOG, log_migrations())
                sweep(self._folder, member_tokens(self._database))
            except BaseException:
                await self._close_database()
                raise
            self._is_open = True
            self._tasks = [
                asyncio.create_task(self._keep_up(), name="antiphon-embedded-leases"),
                asyncio.create_task(self._retention.run(), name="antiphon-embedded-retention"),
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
            await self._writes.close()
            self._bell.close()
            await self._close_database()
            self._is_open = False  # not before: a call that was cancelled is completed by the next

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        self._require_open("publish")
        batch, refusals = self._appender.prepare(outgoing)
        if batch.outgoing:
            await self._write(partial(self._appender.append, batch=batch))
        if refusals:
            raise PublishError(refusals)

    async def publish_in(self, tx: Transaction, outgoing: Sequence[Outgoing]) -> None:
        self._require_open("publish")
        own = joined(tx, self._database)
        batch, refusals = self._appender.prepare(outgoing)
        if refusals:
            raise PublishError(refusals)
        self._appender.append(own, batch)
        own.after_commit(self._bell.announce)

    async def subscribe(
        self, group: str, topics: Sequence[str], options: SubscribeOptions = SubscribeOptions()
    ) -> EmbeddedSubscription:
        self._require_open("subscribe")
        self._bell.listen()
        membership = Membership(self._database, self._topics, self._clock, self._lease, self._folder, group, topics)
        membership.hold()
        try:
            name = options.member or f"member-{uuid4().hex[:8]}"
            await self._write(lambda tx: membership.join(tx, name, options.start))
        except BaseException:
            membership.let_go()
            raise
        subscription = EmbeddedSubscription(
            self._database,
            self._topics,
            membership,
            self._writes,
            self._bell,
            options,
            self._grace,
            self._forget,
        )
        self._subscriptions.append(subscription)
        await subscription.keep_up()
        return subscription

    async def ensure_topic(self, spec: TopicSpec) -> None:
        self._require_open("make a topic")
        await self._write(lambda tx: self._topics.ensure(tx, spec))

    async def topics(self) -> Sequence[TopicState]:
        self._require_open("list the topics")
        return self._topics.states()

    async def groups(self) -> Sequence[str]:
        self._require_open("list the groups")
        return group_names(self._database)

    async def lag(self, group: str) -> Sequence[Lag]:
        self._require_open("measure the lag")
        return lag_of(self._database, group, self._clock.now(), self._folder)

    async def seek(self, group: str, topic: str, to: Seek) -> None:
        self._require_open("seek")
        self._topics.ids_of(topic)
        await self._write(lambda tx: move_group(tx, group, topic, to))

    async def seek_in(self, tx: Transaction, group: str, topic: str, to: Seek) -> None:
        self._require_open("seek")
        self._topics.ids_of(topic)
        move_group(joined(tx, self._database), group, topic, to)
        tx.after_commit(self._bell.announce)

    async def browse(self, topic: str, after: Mapping[int, str] | SeekTo, limit: int) -> Sequence[Delivery]:
        self._require_open("browse")
        self._topics.ids_of(topic)
        return browse(self._database, topic, after, limit)

    async def ends(self, topic: str) -> Mapping[int, str]:
        self._require_open("browse")
        self._topics.ids_of(topic)
        return ends(self._database, topic)

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
        return await self._retention.delete_all()

    async def _write(self, work: Callable[[SqliteTransaction], None]) -> None:
        await self._writes.write(work)
        self._bell.announce()

    async def _keep_up(self) -> None:
        """Keep every subscription's leases, whether or not it is fetched from."""
        while True:
            await asyncio.sleep(self._beat)
            trouble = ""
            for subscription in tuple(self._subscriptions):
                try:
                    await subscription.keep_up()
                except Exception as error:  # noqa: BLE001 - the next beat may succeed, and the others must be kept
                    trouble = repr(error)
            if trouble and trouble != self._trouble:
                logger.warning("leases of %s are not renewed until this is over: %s", self.url, trouble)
            self._trouble = trouble

    async def _close_database(self) -> None:
        if self._owns_database:
            await self._database.close()

    def _forget(self, subscription: EmbeddedSubscription) -> None:
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
