"""A broker inside the process: a log or a queue, for tests and for programs that need no more."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Literal

from msgspec import structs

from antiphon.brokers.capabilities import Capabilities, MessageLimit
from antiphon.brokers.connect import Address
from antiphon.brokers.memory.joining import require_own
from antiphon.brokers.memory.log import LOG_CAPABILITIES, LogForm
from antiphon.brokers.memory.log_subscription import MemoryLogSubscription
from antiphon.brokers.memory.queue import QUEUE_CAPABILITIES, QueueForm
from antiphon.brokers.memory.queue_subscription import MemoryQueueSubscription
from antiphon.brokers.memory.replies import MemoryReplies, MemoryReplyBox
from antiphon.brokers.ports import (
    Delivery,
    Lag,
    Reply,
    Seek,
    SeekTo,
    Settlement,
    SubscribeOptions,
    TopicSpec,
    TopicState,
)
from antiphon.brokers.screening import Objection, screen
from antiphon.errors import ClosedError, PublishError, Refusal, SettingsError, UnsupportedCapabilityError
from antiphon.events.clock import Clock, SystemClock
from antiphon.events.message import Outgoing
from antiphon.storage.database import Database, Transaction
from antiphon.storage.sqlite import SqliteDatabase

_HOLD = timedelta(seconds=30)


class MemoryBroker:
    """Holds messages in this process, as a log or as a queue. They last as long as this value.

    So does its database: `close` leaves it open, so that what is opened again finds its tables as well as its
    messages. Close `database`, too, when it has served.

    `hold` is how long a queue's delivery stays with who fetched it, and how long a member of a log's group may
    work on a partition that it was asked to give up. `max_message_bytes` and `refuse` (a reason, or None) make
    publishing fail, `without` takes capabilities away by name: so a program can be tried against a weaker broker.
    """

    def __init__(
        self,
        model: Literal["log", "queue"] = "log",
        *,
        clock: Clock | None = None,
        hold: timedelta = _HOLD,
        max_message_bytes: int | None = None,
        refuse: Objection | None = None,
        without: Collection[str] = (),
    ) -> None:
        self._clock = clock or SystemClock()
        self._model: Literal["log", "queue"] = model
        if unknown := [name for name in without if name not in Capabilities.__struct_fields__]:
            raise SettingsError(f"a memory broker cannot do without {unknown[0]!r}: it is no capability")
        if hold <= timedelta():
            raise SettingsError(f"a memory broker cannot hold deliveries for {hold}: give a time above zero")
        able = LOG_CAPABILITIES if model == "log" else QUEUE_CAPABILITIES
        self._capabilities = structs.replace(able, max_message_bytes=max_message_bytes, **dict.fromkeys(without, False))
        self._database = SqliteDatabase(":memory:")
        self._form: LogForm | QueueForm = (
            LogForm(self._clock, hold, self._database, self._accept_whole)
            if model == "log"
            else QueueForm(self._clock, hold, self._database, self._capabilities)
        )
        self._replies = MemoryReplies(self._clock, partial(self._require_open, "read replies"))
        self._refuse = refuse
        self._is_open = False
        self._subscriptions: list[MemoryLogSubscription | MemoryQueueSubscription] = []

    @property
    def url(self) -> str:
        return "memory:///" if self._model == "log" else "memory:///?model=queue"

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def native(self) -> object:
        return self._form

    @property
    def database(self) -> Database:
        return self._database

    async def open(self) -> None:
        if not self._is_open:
            await self._database.open()
            self._is_open = True

    async def close(self) -> None:
        if self._is_open:
            self._is_open = False
            for subscription in self._subscriptions:
                await subscription.close()
            self._subscriptions.clear()

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        self._require_open("publish")
        accepted, refusals = self._screen(outgoing)
        self._form.accept(accepted)
        if refusals:
            raise PublishError(refusals)

    async def publish_in(self, tx: Transaction, outgoing: Sequence[Outgoing]) -> None:
        self._require_open("publish")
        self._require("store_transactions", "it was taken away")
        require_own(tx, self._database)
        accepted, refusals = self._screen(outgoing)
        if refusals:
            raise PublishError(refusals)
        tx.after_commit(partial(self._form.accept, tuple(accepted)))

    async def subscribe(
        self, group: str, topics: Sequence[str], options: SubscribeOptions = SubscribeOptions()
    ) -> MemoryLogSubscription | MemoryQueueSubscription:
        self._require_open("subscribe")
        if self._form.groups.keys() - {group}:
            self._require("groups", f"group {next(iter(self._form.groups))!r} reads it already")
        subscription = self._form.join(group, topics, options)
        self._subscriptions.append(subscription)
        return subscription

    async def ensure_topic(self, spec: TopicSpec) -> None:
        self._require_open("ensure a topic")
        self._form.ensure(spec)

    async def topics(self) -> Sequence[TopicState]:
        self._require_open("list topics")
        return self._form.states()

    async def groups(self) -> Sequence[str]:
        self._require_open("list groups")
        return list(self._form.groups)

    async def lag(self, group: str) -> Sequence[Lag]:
        self._require_open("measure lag")
        return self._form.lag(group)

    async def open_reply_box(self, name: str) -> MemoryReplyBox:
        self._require_open("open a reply box")
        self._require("request_reply", "it was taken away")
        return self._replies.open_box(name)

    async def reply(self, replies: Sequence[Reply]) -> None:
        self._require_open("reply")
        _, refusals = self._screen([Outgoing(address, message) for address, message in replies])
        refused = {refusal.message_id for refusal in refusals}
        self._replies.put([each for each in replies if each.message.id not in refused])
        if refusals:
            raise PublishError(refusals)

    async def seek(self, group: str, topic: str, to: Seek) -> None:
        self._movable(group, to).seek(group, topic, to)

    async def seek_in(self, tx: Transaction, group: str, topic: str, to: Seek) -> None:
        self._require("store_transactions", f"group {group!r} cannot be moved in a transaction")
        form = self._movable(group, to)
        tx.after_commit(lambda: form.seek(group, topic, to))

    def _movable(self, group: str, to: Seek) -> LogForm:
        self._require_open("seek")
        form = self._replayable(f"group {group!r} cannot be moved")
        if isinstance(to, datetime):
            self._require("seek_time", f"group {group!r} cannot be moved to a moment")
        return form

    async def browse(self, topic: str, after: Mapping[int, str] | SeekTo, limit: int) -> Sequence[Delivery]:
        self._require_open("browse")
        form = self._replayable(f"topic {topic!r} cannot be read without a group")
        return form.browse(topic, after, limit)

    async def ends(self, topic: str) -> Mapping[int, str]:
        self._require_open("browse")
        return self._replayable(f"topic {topic!r} has no positions").ends(topic)

    async def read_dead_letters(self, group: str, limit: int) -> Sequence[Delivery]:
        return self._rejecting().rejected(group)[:limit]

    async def take_dead_letters(self, group: str, limit: int) -> Sequence[Delivery]:
        return self._rejecting().take_rejected(group, limit)

    async def write_dead_letters(self, group: str, kept: Sequence[Outgoing]) -> None:
        form = self._rejecting()
        accepted, refusals = self._screen(kept)
        form.write_rejected(group, accepted)
        if refusals:
            raise PublishError(refusals)

    async def settle_dead_letters(self, settlements: Sequence[Settlement]) -> None:
        form = self._rejecting()
        if any(settlement.outcome.kind == "reject" for settlement in settlements):
            raise UnsupportedCapabilityError("a dead letter", "rejection", "it is rejected already: settle it as done")
        form.settle_rejected(settlements)

    def _rejecting(self) -> QueueForm:
        self._require_open("look after dead letters")
        self._require("native_dead_letters", "it keeps no rejected messages")
        assert isinstance(self._form, QueueForm), "a log has no native dead letters"
        return self._form

    def _require_open(self, tried: str) -> None:
        if not self._is_open:
            raise ClosedError(f"broker {self.url}", tried)

    def _require(self, capability: str, reason: str) -> None:
        if not getattr(self._capabilities, capability):
            raise UnsupportedCapabilityError(f"broker {self.url}", capability, reason)

    def _replayable(self, reason: str) -> LogForm:
        if not (self._capabilities.replay and isinstance(self._form, LogForm)):
            raise UnsupportedCapabilityError(f"broker {self.url}", "replay", reason)
        return self._form

    def _accept_whole(self, outgoing: Sequence[Outgoing]) -> None:
        """Hold all of these, or raise PublishError with none of them held."""
        self._require("transactions", "it was taken away")
        accepted, refusals = self._screen(outgoing)
        if refusals:
            raise PublishError(refusals)
        self._form.accept(accepted)

    def _screen(self, outgoing: Sequence[Outgoing]) -> tuple[Sequence[Outgoing], Sequence[Refusal]]:
        if self._refuse is None and self._capabilities.max_message_bytes is None:
            return outgoing, ()
        return screen(outgoing, self._objection)

    def _objection(self, outgoing: Outgoing) -> str | None:
        limit, data = self._capabilities.max_message_bytes, outgoing.message.data
        if limit is not None and data is not None and len(data) > limit:
            return f"its data has {len(data)} bytes, the limit is {limit}"
        return None if self._refuse is None else self._refuse(outgoing)


def from_address(
    address: Address,
    *,
    model: Literal["log", "queue"] = "log",
    hold: timedelta = _HOLD,
    max_message_bytes: MessageLimit | None = None,
) -> MemoryBroker:
    """The broker of a `memory:///` URL; each call makes one of its own."""
    if address.host or address.path:
        raise SettingsError(f"{address.url} names a place, but it holds everything in this process: memory:///")
    return MemoryBroker(model, hold=hold, max_message_bytes=max_message_bytes)
