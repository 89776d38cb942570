"""What the runtime asks of a broker: batches in, batches out, one confirmation each.

Two kinds of subscription, neither bent into the other: a log moves a watermark per partition, a queue settles
each delivery. Every method says when it returns, what it raises, and whether twice or at once is safe; adapters
state only their differences.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from msgspec import Struct

from antiphon.brokers.capabilities import Capabilities
from antiphon.errors import SchemaError
from antiphon.events.message import Message, Outgoing
from antiphon.storage.database import Database, Migration, Transaction


class Partition(NamedTuple):
    """An ordered lane of a topic."""

    topic: str
    number: int


class Delivery(Struct, eq=False, gc=False):
    """One attempt at one message.

    `position` is opaque: only its source compares it. `attempt` counts from 1 where the broker counts
    deliveries. `handle` is the adapter's own. `problem` is set when the bytes were none of the wire forms; such a
    delivery is parked. `state` is the runtime's.
    """

    partition: Partition
    position: str
    message: Message
    attempt: int = 1
    handle: object = None
    problem: SchemaError | None = None
    state: int = 0

    def __repr__(self) -> str:
        at = f"{self.partition.topic}/{self.partition.number}@{self.position}"
        return f"Delivery({self.message.type} {self.message.id}, {at}, attempt {self.attempt})"


class TopicSpec(Struct, frozen=True):
    """How a topic should be. Retention is unlimited where it is None."""

    name: str
    partitions: int = 8
    keep_for: timedelta | None = None
    keep_bytes: int | None = None


class TopicState(Struct, frozen=True):
    """How a topic is: messages and bytes held, and its number of partitions. Some brokers do not say how many bytes."""

    name: str
    partitions: int
    messages: int
    bytes: int | None
    keep_for: timedelta | None = None
    keep_bytes: int | None = None


class Lag(Struct, frozen=True):
    """How far a group is behind in one partition: messages, and the age of the oldest unread one."""

    group: str
    partition: Partition
    position: str
    end: str
    messages: int
    age: timedelta
    owner: str | None = None
    skipped: int = 0
    """Messages that retention deleted before this group read them."""


class SeekTo(StrEnum):
    """The two ends that every replayable broker knows."""

    START = "start"
    END = "end"


Seek = SeekTo | datetime | Mapping[Partition, str]
"""Where to seek: an end, a moment, or an exact position per partition (the next message read is the one after it)."""


class NoticeKind(StrEnum):
    ASSIGNED = "assigned"
    REVOKED = "revoked"
    """Given up in order: everything handed out was settled first."""
    LOST = "lost"
    """Taken away: what is in flight must not be settled; the new owner repeats it."""


class Notice(NamedTuple):
    """A change of which partitions this subscription reads."""

    kind: NoticeKind
    partitions: tuple[Partition, ...]


class Start(StrEnum):
    """Where a group without a position begins, and where one goes whose position retention deleted."""

    START = "start"
    END = "end"
    STOP = "stop"
    """Only for deleted positions: stop with PositionLostError."""


class SubscribeOptions(Struct, frozen=True):
    """How a group reads. `lost` says what happens when retention deleted its position."""

    start: Start = Start.START
    lost: Start = Start.STOP
    member: str | None = None
    """A name for this process in lists of group members; made up when None."""


@runtime_checkable
class LogSubscription(Protocol):
    """A group's reading of a log. One task fetches; commit may run at the same time."""

    async def fetch(self, limit: int, max_bytes: int, wait: timedelta) -> Sequence[Delivery]:
        """At most `limit` deliveries of together some `max_bytes` (at least one), in order within each partition.

        Returns as soon as there is anything, empty after `wait`. Raises PositionLostError, ConnectionLostError
        or StoreError. Canceling loses nothing: what was not returned is returned by the next call.
        """
        ...

    async def commit(self, watermarks: Mapping[Partition, str]) -> None:
        """Move the group's watermark in each partition to that position: all up to it, itself included, is done.

        Returns when it is durable. Partitions that are no longer owned are left out and reported as LOST by
        `notices`. Committing the same or an older position again does nothing.
        """
        ...

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Stop fetching from these, keeping them and the membership. Twice is safe."""
        ...

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Fetch from these again, going on where it stopped. Twice is safe."""
        ...

    def pause_topic(self, topic: str) -> None:
        """Stop fetching from all of this topic, also from partitions of it that come later. Twice is safe."""
        ...

    def resume_topic(self, topic: str) -> None:
        """Fetch from this topic again, but for partitions that are paused by themselves. Twice is safe."""
        ...

    def is_before(self, one: str, other: str) -> bool:
        """Whether position `one` lies before position `other` of the same partition. Never waits.

        Raises UsageError for what has not the form of a position here, as one of another broker has not.
        """
        ...

    def notices(self) -> Sequence[Notice]:
        """What changed since the last call; never waits.

        LOST concerns everything that `fetch` has returned so far. Such a partition is neither read again nor
        committed before its notice was taken here: until then its reader may hold deliveries from before.
        """
        ...

    async def close(self) -> None:
        """Leave the group and give up its partitions. What was not committed is delivered again. Twice is safe."""
        ...


@runtime_checkable
class TransactionalSubscription(LogSubscription, Protocol):
    """A group's reading of a log on a broker with the capability `transactions`."""

    async def commit_with(self, watermarks: Mapping[Partition, str], outgoing: Sequence[Outgoing]) -> None:
        """As `commit`, and `outgoing` is published in the same transaction of the broker: both, or neither.

        Returns when both are durable; who reads committed messages sees `outgoing` from then on, whole. Raises
        PublishError naming every refused message, LeaseLostError when a partition is not owned any more (a notice says
        it, too), ConnectionLostError: nothing is published then, and nothing moves. Once it had returned, the same
        call publishes `outgoing` again.
        """
        ...


class Outcome(NamedTuple):
    """What becomes of a queue's delivery: done, again (after a delay), or rejected for good."""

    kind: Literal["done", "again", "reject"]
    delay: timedelta = timedelta()
    counted: bool = True
    """False when the delivery was released, so that it must not count as an attempt."""


DONE = Outcome("done")
RELEASE = Outcome("again", counted=False)


class Settlement(NamedTuple):
    delivery: Delivery
    outcome: Outcome


class QueueSubscription(Protocol):
    """A group's reading of a queue. One task fetches; settle and extend may run at the same time."""

    @property
    def hold(self) -> timedelta:
        """How long a fetched delivery is held for this subscriber, from the fetch or the last `extend`."""
        ...

    async def fetch(self, limit: int, max_bytes: int, wait: timedelta) -> Sequence[Delivery]:
        """As `LogSubscription.fetch`; each delivery is held for this subscriber until settled or its hold expires."""
        ...

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """Settle each delivery; returns when the broker holds it. Settling one whose hold expired does nothing."""
        ...

    async def extend(self, deliveries: Sequence[Delivery]) -> None:
        """Hold these for another full period. One whose hold expired is left out."""
        ...

    def pause_topic(self, topic: str) -> None:
        """Stop fetching from this topic; what is held of it stays held. Twice is safe."""
        ...

    def resume_topic(self, topic: str) -> None:
        """Fetch from this topic again. Twice is safe."""
        ...

    async def close(self) -> None:
        """Return everything held, uncounted, and leave. Twice is safe."""
        ...


Subscription = LogSubscription | QueueSubscription


@runtime_checkable
class Broker(Protocol):
    """A road for messages. One value may be used by many tasks of one event loop at once."""

    @property
    def url(self) -> str:
        """What it was connected with, without secrets."""
        ...

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def native(self) -> object:
        """The driver's own object, for what no port offers."""
        ...

    async def open(self) -> None:
        """Connect; returns when it can be used. Raises ConnectionLostError or StoreError. Twice is safe."""
        ...

    async def close(self) -> None:
        """Close every subscription, then the connection. Twice is safe."""
        ...

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        """Return when the broker holds them all, as durably as it can.

        Raises PublishError naming every refused message; after the first refusal of a key nothing later of
        that key is sent (each of those is named as well). An unknown topic is made with the defaults.
        """
        ...

    async def subscribe(
        self, group: str, topics: Sequence[str], options: SubscribeOptions = SubscribeOptions()
    ) -> Subscription:
        """Join `group` on `topics`; returns at once, partitions arrive as notices. Unknown topics are made."""
        ...

    async def ensure_topic(self, spec: TopicSpec) -> None:
        """Make the topic, or change its retention. Raises UnsupportedCapabilityError when the partitions differ."""
        ...

    async def topics(self) -> Sequence[TopicState]: ...

    async def groups(self) -> Sequence[str]: ...

    async def lag(self, group: str) -> Sequence[Lag]:
        """One entry for each partition that the group has a position in."""
        ...

    async def seek(self, group: str, topic: str, to: Seek) -> None:
        """Move the group. Its members drop what they hold and go on from there; their commits before that are fenced.

        Raises UnsupportedCapabilityError without `replay` (or `seek_time`, for a moment), UnknownTopicError.
        """
        ...


@runtime_checkable
class Browsing(Protocol):
    """Reading without a group, for tails and searches. Offered by every broker with `replay`."""

    async def browse(self, topic: str, after: Mapping[int, str] | SeekTo, limit: int) -> Sequence[Delivery]:
        """Up to `limit` messages after these positions by number of partition; from the start of those left out.

        They are ordered by time of arrival where the broker knows it. Never waits; changes nothing.
        """
        ...

    async def ends(self, topic: str) -> Mapping[int, str]:
        """The position at the end of each partition, by number: browse after these for what comes from now on."""
        ...


@runtime_checkable
class DeadLettering(Protocol):
    """Looking after what the broker itself keeps of rejected messages. Offered with `native_dead_letters`."""

    async def read_dead_letters(self, group: str, limit: int) -> Sequence[Delivery]:
        """Up to `limit` of what `group` rejected, the oldest first where the broker knows it. Changes nothing."""
        ...

    async def take_dead_letters(self, group: str, limit: int) -> Sequence[Delivery]:
        """As `read_dead_letters`, of what nobody holds; each is held for the caller until settled, or for a while."""
        ...

    async def write_dead_letters(self, group: str, kept: Sequence[Outgoing]) -> None:
        """Keep these as dead letters of `group`; returns when the broker holds them, and they reach no reader.

        Raises PublishError naming every refused one. Writing one again keeps it twice.
        """
        ...

    async def settle_dead_letters(self, settlements: Sequence[Settlement]) -> None:
        """Settle what was taken: `done` forgets it, `again` gives it back. One that is not held any more is left out.

        Raises UnsupportedCapabilityError, with nothing settled, for a `reject`: it is rejected already.
        """
        ...


class Reply(NamedTuple):
    """A message, and the address of the reply box that it goes to."""

    address: str
    message: Message


class ReplyBox(Protocol):
    """Where the replies to one asker arrive. One task fetches."""

    @property
    def address(self) -> str:
        """What a responder replies to; it stays the same when the connection was lost in between."""
        ...

    async def fetch(self, wait: timedelta) -> Sequence[Message]:
        """What arrived since the last call, as soon as there is anything; empty after `wait`.

        What was sent while the connection was lost may be gone. Raises ConnectionLostError or StoreError, and
        ClosedError once the broker is closed.
        """
        ...

    async def close(self) -> None:
        """Take nothing more, and leave nothing behind. Twice is safe."""
        ...


@runtime_checkable
class Replying(Protocol):
    """Replies that go straight to whoever asked, and leave nothing behind. Offered with `request_reply`."""

    async def open_reply_box(self, name: str) -> ReplyBox:
        """A box that nobody else reads; returns when it takes replies. `name` says whose it is, for operators."""
        ...

    async def reply(self, replies: Sequence[Reply]) -> None:
        """Send these on their way. What goes to a box that is gone, or to an address of no box, is dropped.

        Raises PublishError naming every one that cannot be sent, such as one that is too large; ConnectionLostError or
        StoreError where nobody knows which went.
        """
        ...


@runtime_checkable
class Filling(Protocol):
    """Giving one group alone what it has to read. Offered by queues that hold messages for each group apart."""

    async def empty(self, group: str, topic: str) -> None:
        """See to it that the group is there, reads the topic, and has nothing to read of it.

        Raises UsageError, with nothing changed, while somebody reads for the group. Twice is safe.
        """
        ...

    async def fill(self, group: str, partition: Partition, messages: Sequence[Message]) -> None:
        """Put these behind what the group has to read of that partition; returns when the broker holds them.

        For a group that is there. Raises PublishError naming every refused one. Filling in twice keeps twice.
        """
        ...


@runtime_checkable
class StoreBroker(Protocol):
    """A broker in a database: publishing and settling can join the caller's transaction there.

    Offered with the capability `store_transactions`; its subscriptions then have `commit_in` or `settle_in`.
    """

    @property
    def database(self) -> Database:
        """The database that holds it, for the services' own tables, too."""
        ...

    async def publish_in(self, tx: Transaction, outgoing: Sequence[Outgoing]) -> None:
        """As `publish`, but held when `tx` commits. Raises PublishError with nothing written."""
        ...

    async def seek_in(self, tx: Transaction, group: str, topic: str, to: Seek) -> None:
        """As `Broker.seek`, when `tx` commits."""
        ...


@runtime_checkable
class TableBroker(Protocol):
    """A broker that keeps what it holds in tables, which somebody else may make for it before it is opened."""

    @property
    def component(self) -> str:
        """What its tables are called among all that have tables in its database."""
        ...

    @property
    def migrations(self) -> Sequence[Migration]:
        """How they come to be, in order."""
        ...


class StoreLogSubscription(LogSubscription, Protocol):
    async def commit_in(
        self, tx: Transaction, watermarks: Mapping[Partition, str], held: Collection[Partition] = ()
    ) -> None:
        """As `commit`, when `tx` commits. `held` are those whose work is in `tx`, but which do not move by it.

        Raises LeaseLostError naming the partitions of either that are not owned any more: roll back.
        """
        ...


class StoreQueueSubscription(QueueSubscription, Protocol):
    async def settle_in(self, tx: Transaction, settlements: Sequence[Settlement]) -> None:
        """As `settle`, when `tx` commits. Raises LeaseLostError when a hold expired: roll back."""
        ...
