"""How do messages rest in a PostgreSQL server's log instead of in a table, and how are they read from there?

`pg_logical_emit_message` writes them into the log in the user's transaction; a logical slot remembers how far relays
have come, and keeps the server from deleting what they have not read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import partial

import msgspec

from antiphon.errors import EncodeError, StatementError, UnsupportedCapabilityError
from antiphon.events.clock import Clock
from antiphon.events.message import Outgoing
from antiphon.storage.database import Database, Transaction
from antiphon.storage.envelopes import decode_message, encode_message
from antiphon.storage.joining import JoinedTransaction
from antiphon.storage.outbox import OutboxBacklog, Staged, Unreadable
from antiphon.storage.outboxes import only_bucket
from antiphon.storage.queries import load_queries
from antiphon.storage.wal_records import WalMessage, WalTransaction, transactions, written_place

_SQL = load_queries("antiphon.storage", "sql/wal_outbox.sql")
_POSTGRES = ("postgres:", "postgresql:")
_FOR_POSTGRES = "outbox='wal' is for PostgreSQL: leave it out, or move"
_FAR = 1024 * 1024
"""So many bytes of log that hold no message of ours are given up at once."""
_LOOK_EVERY = timedelta(milliseconds=50)
"""While another one makes the slot."""


class WalOutbox:
    """An outbox in the log of a PostgreSQL server: no table, no row to delete. One relay reads at a time.

    It needs `wal_level = logical`, and a user who may replicate. While no relay runs, the server keeps its log.
    """

    buckets = only_bucket("wal")
    is_relayed = True

    def __repr__(self) -> str:
        return "WalOutbox()"

    async def make(self, store: Database) -> None:
        """As `OutboxTable.make`: the slot, which waits for the transactions that run now."""
        slot = await slot_of(store)
        if not await store.fetch(_SQL["has_publication"]):
            await _make_publication(store)
        while not await store.fetch(_SQL["has_slot"], slot):
            await _make_slot(store, slot)

    async def stage(self, tx: Transaction, outgoing: Sequence[Outgoing], now: datetime) -> None:
        """As `OutboxTable.stage`."""
        await tx.execute_many(_SQL["stage"], [(_text(one),) for one in outgoing])

    async def require(self, tx: Transaction) -> None:
        """As `OutboxTable.require`: without its slot the server would not keep what is staged."""
        kept = await tx.fetch(_SQL["is_kept"])
        if not kept:
            raise _refused("the database of this transaction", _FOR_POSTGRES)
        if not kept[0][0]:
            raise UnsupportedCapabilityError(
                "the database of this transaction",
                "slot for its schema",
                "what is staged with outbox='wal' would be lost; start `antiphon relay --layout wal`, or a service "
                "with that outbox, on the same schema, which makes it",
            )

    async def make_in(self, tx: JoinedTransaction) -> None:
        """As `OutboxTable.make_in`, but no transaction makes a slot: as `require` where there is none."""
        await self.require(tx)

    def reader(self, store: Database, clock: Clock) -> WalReader:
        """As `OutboxTable.reader`."""
        return WalReader(store)


async def slot_of(store: Database) -> str:
    """The name of the slot of this store's schema. Raises UnsupportedCapabilityError where there can be none."""
    if not store.url.startswith(_POSTGRES):
        raise _refused(f"the store {store.url}", _FOR_POSTGRES)
    ((level, slot),) = await store.fetch(_SQL["place"], row=tuple[str, str])
    if level != "logical":
        raise _refused(
            f"the store {store.url}",
            f"outbox='wal' needs wal_level = logical, and it is {level!r}: set it in postgresql.conf and restart",
        )
    return slot


async def _make_publication(store: Database) -> None:
    try:
        async with store.transaction() as tx:
            await tx.execute(_SQL["make_publication"])
    except StatementError:
        if not await store.fetch(_SQL["has_publication"]):  # else another one was first
            raise


async def _make_slot(store: Database, slot: str) -> None:
    """Make it, or give another one time to who was first: a slot that is there keeps nothing until it is made."""
    try:
        await store.fetch(_SQL["make_slot"], slot)
    except StatementError:
        if not await store.fetch(_SQL["is_begun"], slot):
            raise
        await asyncio.sleep(_LOOK_EVERY.total_seconds())


def _refused(subject: str, reason: str) -> UnsupportedCapabilityError:
    return UnsupportedCapabilityError(subject, "log that can be read", reason)


class WalReader:
    """As `OutboxReader`. What is finished is given up before the next look, from the beginning, by transactions."""

    def __init__(self, store: Database) -> None:
        self._store = store
        self._slot = ""
        self._seen: list[WalTransaction] = []
        self._finished: set[int] = set()
        """Places of messages that relays are done with; the slot may not have come so far."""
        self._looking = asyncio.Lock()

    async def next(self, buckets: Collection[int], limit: int) -> tuple[list[Staged], list[Unreadable]]:
        """As `OutboxReader.next`: of whole transactions, however many messages the last one has."""
        (bucket,) = WalOutbox.buckets
        if bucket not in buckets:
            return [], []
        async with self._looking:
            await self._look(limit)
        staged: list[Staged] = []
        unreadable: list[Unreadable] = []
        for each in self._waiting():
            try:
                staged.append(Staged(each.place, bucket, _outgoing(each.content)))
            except msgspec.DecodeError as error:
                text = each.content.decode(errors="replace")
                unreadable.append(Unreadable(each.place, bucket, "", text, str(error)))
        return staged, unreadable

    async def forget(self, tx: Transaction, numbers: Sequence[int]) -> None:
        """As `OutboxReader.forget`."""
        tx.after_commit(partial(self._finished.update, numbers))

    async def backlog(self, now: datetime) -> OutboxBacklog:
        """As `OutboxReader.backlog`: of what was read last."""
        ages = [now - each.committed_at for each in self._seen if self._left(each)]
        return OutboxBacklog(len(self._waiting()), max([timedelta(), *ages]))

    async def is_empty(self) -> bool:
        """As `OutboxReader.is_empty`; while another relay reads, it is taken not to be."""
        try:
            async with self._looking:
                await self._look(1)
        except StatementError:
            return False
        return not self._waiting()

    async def _look(self, limit: int) -> None:
        slot = self._slot = self._slot or await slot_of(self._store)
        ((end, given_up),) = await self._store.fetch(_SQL["places"], slot, row=tuple[int, int])
        # Another relay may have come further, while it had the lease; and there is no way back for a slot.
        self._drop(sum(each.end <= given_up for each in self._seen))
        await self._give_up_finished()
        records = await self._store.fetch(_SQL["peek"], slot, limit + len(self._finished), row=bytes)
        self._seen = list(transactions(records))
        if not records and end - given_up > _FAR:
            await self._give_up(end)

    async def _give_up_finished(self) -> None:
        """Let the server forget the transactions at the beginning of which nothing is left."""
        end, gone = 0, 0
        while gone < len(self._seen) and not self._left(self._seen[gone]):
            end, gone = self._seen[gone].end, gone + 1
        if gone:
            await self._give_up(end)
            self._drop(gone)

    async def _give_up(self, end: int) -> None:
        await self._store.fetch(_SQL["advance"], self._slot, written_place(end))

    def _drop(self, count: int) -> None:
        """Forget the first of what was seen, as the server has."""
        self._finished -= {message.place for each in self._seen[:count] for message in each.messages}
        del self._seen[:count]

    def _left(self, transaction: WalTransaction) -> list[WalMessage]:
        return [each for each in transaction.messages if each.prefix == self._slot and each.place not in self._finished]

    def _waiting(self) -> list[WalMessage]:
        return [message for each in self._seen for message in self._left(each)]


def _text(outgoing: Outgoing) -> str:
    """One line for the topic, the rest is the message."""
    topic, message = outgoing
    try:
        return f"{msgspec.json.encode(topic).decode()}\n{encode_message(message)}"
    except ValueError as error:
        raise EncodeError(f"message {message.id} to {topic!r} cannot be kept in the outbox: {error}") from error


def _outgoing(content: bytes) -> Outgoing:
    topic, _, message = content.partition(b"\n")
    return Outgoing(msgspec.json.decode(topic, type=str), decode_message(message.decode(errors="replace")))
