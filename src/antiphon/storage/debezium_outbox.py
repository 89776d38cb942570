"""How does an outbox look that Debezium's event router reads, or that somebody filled who knows only that layout?

It has a row for each message: `id` (a UUID), `aggregatetype` (what the topic is made of), `aggregateid` (the key),
`type` and `payload`. What we write has a whole CloudEvent as payload, so that nothing of the message is lost.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Literal, NamedTuple
from uuid import UUID

from msgspec.structs import replace

from antiphon.errors import EncodeError, SettingsError, StatementError, UnrecognizedMessageError
from antiphon.events.clock import Clock
from antiphon.events.message import Message, Outgoing
from antiphon.events.wire import from_structured, to_structured
from antiphon.storage.database import Database, Migration, Transaction
from antiphon.storage.dialects import PortableSql, filled
from antiphon.storage.joining import ColumnText, JoinedTransaction
from antiphon.storage.making import make_tables_in
from antiphon.storage.moments import moment
from antiphon.storage.outbox import MOST_BYTES, OutboxBacklog, Staged, Unreadable
from antiphon.storage.outboxes import only_bucket
from antiphon.storage.queries import load_queries

_SQL = load_queries("antiphon.storage", "sql/debezium_outbox.sql")
_MARK = "{aggregatetype}"
_TRACEPARENT = re.compile(r"\btraceparent=([0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})\b")

PublishedBy = Literal["relay", "debezium"]


class DebeziumOutbox:
    """An outbox in Debezium's layout, in a `table` of the store; it is made where it is missing.

    `topics` is how a topic's name is made of an aggregate's type: as it is, or as "outbox.event.{aggregatetype}",
    which is what Debezium does unless told otherwise. `published_by="debezium"` leaves the publishing to it: each row
    is deleted in the transaction that writes it, since Debezium reads the server's log. Raises SettingsError.
    """

    TOPICS: ClassVar = _MARK

    def __init__(self, table: str = "outbox", *, topics: str = _MARK, published_by: PublishedBy = "relay") -> None:
        if not table or not all(table.split(".")) or "\0" in table:
            raise SettingsError(f"{table!r} is no name for a table: write one as in 'outbox' or 'shop.outbox'")
        if topics.count(_MARK) != 1:
            raise SettingsError(f"topics={topics!r}: write {_MARK} in it once, as in 'outbox.event.{_MARK}'")
        if published_by not in ("relay", "debezium"):
            raise SettingsError(f"published_by={published_by!r}: it is one of 'relay', 'debezium'")
        self.table, self._topics, self._published_by = table, topics, published_by
        self._name = ".".join('"' + part.replace('"', '""') + '"' for part in table.split("."))
        self._component = f"outbox {table}"
        self.buckets = only_bucket(f"debezium {table}")

    def __repr__(self) -> str:
        return f"DebeziumOutbox({self.table!r})"

    @property
    def is_relayed(self) -> bool:
        """As `OutboxTable.is_relayed`."""
        return self._published_by == "relay"

    async def make(self, store: Database) -> None:
        """As `OutboxTable.make`; a table that is there stays as it is."""
        if not await self.columns(store):
            await store.migrate(self._component, self._migrations())

    async def stage(self, tx: Transaction, outgoing: Sequence[Outgoing], now: datetime) -> None:
        """As `OutboxTable.stage`. Raises EncodeError for an id that is no UUID, and a topic that is not of `topics`."""
        rows = [self._values(one) for one in outgoing]
        await tx.execute_many(self.statement("stage"), rows)
        if not self.is_relayed:
            await tx.execute_many(self.statement("forget"), [(id,) for id, *_ in rows])

    async def require(self, tx: Transaction) -> None:
        """As `OutboxTable.require`: rows wait for whoever reads them."""

    async def make_in(self, tx: JoinedTransaction) -> None:
        """As `OutboxTable.make_in`; a table that is there stays as it is."""
        if not await self.columns(tx):
            await make_tables_in(tx, self._component, self._migrations())

    def reader(self, store: Database, clock: Clock) -> DebeziumReader:
        """As `OutboxTable.reader`."""
        return DebeziumReader(self, store, clock)

    def topic_of(self, aggregate_type: str) -> str:
        """The topic that messages of such an aggregate go to."""
        return self._topics.replace(_MARK, aggregate_type)

    def statement(self, name: str, parts: Mapping[str, str | PortableSql] = {}) -> PortableSql:
        """One of our statements on this table."""
        statement = filled(_SQL[name], "{table}", [self._name])
        for place, part in parts.items():
            statement = filled(statement, "{" + place + "}", [part])
        return statement

    async def columns(self, store: Database | Transaction) -> Sequence[str]:
        """The names of the table's columns; none where there is no table."""
        return await store.fetch(_SQL["columns"], self._name, self.table.rpartition(".")[2], row=str)

    def _migrations(self) -> Sequence[Migration]:
        return [Migration(1, "make_outbox", self.statement("make"))]

    def _values(self, outgoing: Outgoing) -> Sequence[ColumnText]:
        topic, message = outgoing
        before, _, after = self._topics.partition(_MARK)
        middle = topic.removeprefix(before).removesuffix(after)
        tried = f"message {message.id} to {topic!r} cannot be kept in the outbox {self.table!r}"
        if not middle or self.topic_of(middle) != topic:
            raise EncodeError(f"{tried}: its topics are called {self._topics!r}")
        try:
            id = str(UUID(message.id))
            payload = to_structured(message).decode()
        except ValueError as error:
            raise EncodeError(f"{tried}: {error}") from error
        key = message.id if message.key is None else message.key
        return [ColumnText(each) for each in (id, middle, key, message.type, payload)]


class _Row(NamedTuple):
    id: str
    aggregate_type: str
    aggregate_id: str | None
    type: str
    payload: str | bytes | None
    moment: str | None
    tracing: str | None


class DebeziumReader:
    """As `OutboxReader`. Rows of one writer are read in the order that it wrote them in, where the table can tell."""

    def __init__(self, outbox: DebeziumOutbox, store: Database, clock: Clock) -> None:
        self._outbox, self._store, self._clock = outbox, store, clock
        self._parts: Mapping[str, str | PortableSql] | None = None
        self._ids: dict[int, str] = {}
        """Of the rows that were read last, by the numbers that they were given here."""
        self._last = 0

    async def next(self, buckets: Collection[int], limit: int) -> tuple[list[Staged], list[Unreadable]]:
        """As `OutboxReader.next`."""
        (bucket,) = self._outbox.buckets
        if bucket not in buckets:
            return [], []
        statement = self._outbox.statement("next", await self._filling())
        rows = await self._store.fetch(statement, limit, MOST_BYTES)
        self._ids = {}
        return [self._staged(_Row(*row), bucket) for row in rows], []  # type: ignore[arg-type]  # as the statement says

    async def forget(self, tx: Transaction, numbers: Sequence[int]) -> None:
        """As `OutboxReader.forget`."""
        await tx.execute_many(self._outbox.statement("forget"), [(self._ids[number],) for number in numbers])

    async def backlog(self, now: datetime) -> OutboxBacklog:
        """As `OutboxReader.backlog`; the age is known where the table has a `timestamp`."""
        statement = self._outbox.statement("backlog", await self._filling())
        ((messages, first),) = await self._store.fetch(statement, row=tuple[int, str | None])
        return OutboxBacklog(messages, max(now - _moment(first, now), timedelta()))

    async def is_empty(self) -> bool:
        """As `OutboxReader.is_empty`."""
        return await self._store.fetch(self._outbox.statement("is_empty"), row=bool) == [True]

    async def _filling(self) -> Mapping[str, str | PortableSql]:
        """What depends on the columns that whoever made the table gave it."""
        if self._parts is None:
            columns = await self._outbox.columns(self._store)
            if not columns:
                raise StatementError(f"{self._store.url} has no table {self._outbox.table!r} to publish from: make it")
            has_moment, order = "timestamp" in columns, "sequence" if "sequence" in columns else "id"
            if has_moment and order == "id":
                order = '"timestamp", id'
            self._parts = {
                "moment": '"timestamp"' if has_moment else "null",
                "tracing": "tracingspancontext" if "tracingspancontext" in columns else "null",
                "order": PortableSql.of("rowid", {"postgres": order}),
                "size": PortableSql.of("length(payload)", {"postgres": "octet_length(cast(payload as text))"}),
            }
        return self._parts

    def _staged(self, row: _Row, bucket: int) -> Staged:
        # Dead letters are known by their numbers, which such a table does not have.
        self._last = max(self._last + 1, moment(self._clock.now()))
        self._ids[self._last] = row.id
        return Staged(self._last, bucket, Outgoing(self._outbox.topic_of(row.aggregate_type), self._message(row)))

    def _message(self, row: _Row) -> Message:
        data = row.payload.encode() if isinstance(row.payload, str) else row.payload
        now = self._clock.now()
        if data is not None and b'"specversion"' in data:
            try:
                whole = from_structured(data, received_at=_moment(row.moment, now))
            except UnrecognizedMessageError:
                pass
            else:
                return replace(whole, key=row.aggregate_id) if _is_key(row, whole) else whole
        traced = _TRACEPARENT.search(row.tracing or "")
        return Message(
            row.id,
            row.type,
            _moment(row.moment, now),
            data,
            row.aggregate_id,
            self._outbox.table,
            content_type=None if isinstance(row.payload, bytes) else "application/json",
            traceparent=None if traced is None else traced[1],
        )


def _is_key(row: _Row, message: Message) -> bool:
    """Whether the row's key is one that the message in it does not have."""
    return message.key is None and row.aggregate_id != message.id


def _moment(text: str | None, otherwise: datetime) -> datetime:
    """A moment as people write it into such a table: milliseconds or microseconds since 1970, or a timestamp."""
    if text is None:
        return otherwise
    try:
        if text.isdecimal():
            number = int(text)
            return datetime.fromtimestamp(number / (1e6 if number > 10**14 else 1e3), UTC)
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        return otherwise
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
