"""How does any application let events leave with its own transaction, without being a service?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from antiphon.errors import DeclarationError, StatementError, UsageError
from antiphon.events.clock import Clock, SystemClock
from antiphon.events.message import Outgoing
from antiphon.runtime.compose import Composer
from antiphon.runtime.layouts import Layout, chosen_outbox
from antiphon.storage.database import Transaction
from antiphon.storage.hinting import OUTBOX_HINTS, HintingDatabase
from antiphon.storage.joining import JoinedTransaction, at_once
from antiphon.storage.making import make_own_tables
from antiphon.storage.outbox import stage
from antiphon.storage.outboxes import OutboxTable
from antiphon.storage.recognizing import join_awaited, join_plain, ours

_MISSING = re.compile(r'no such table|(?<!of )relation "[^"]*" does not exist')
"""How databases say that a table is missing, and not one of its columns."""


class Outbox:
    """Stages events in transactions of an application's own: they leave once those commit, and never otherwise.

    `source` names the application in its messages. A relay publishes what was staged: that of a service whose store
    is the same database, or `antiphon relay`. It holds nothing open; any thread and any event loop may use it.

    `outbox` is as that of a `Service`, another one than Antiphon's own table: `"debezium"`, `DebeziumOutbox(...)`, or
    `"wal"` on PostgreSQL. Whoever publishes has to be told the same, as by `antiphon relay --layout`. Raises
    DeclarationError for anything else, and without a source.
    """

    def __init__(self, source: str, *, clock: Clock | None = None, outbox: OutboxTable | Layout = "own") -> None:
        _require_source(source)
        self._clock = clock or SystemClock()
        self._outbox = chosen_outbox("Outbox", outbox)
        self._composer = Composer(source, self._clock)

    def stage(self, connection: object, *events: object, key: str | None = None) -> Sequence[str]:
        """Let these events be published once the connection's transaction has committed; returns their messages' ids.

        `connection` is a `sqlite3.Connection`, a `psycopg.Connection`, a Session or Connection of SQLAlchemy, or one
        of Django or its alias, inside `atomic`. Nothing is committed here, and rolling back takes it back.

        Raises UsageError for anything else, for what is no event and where there is no transaction, EncodeError,
        StoreError; with `outbox="wal"` UnsupportedCapabilityError where no server's log would keep them.
        """
        tx = join_plain(connection)
        outgoing = self._compose(events, key)
        at_once(self._stage(tx, outgoing))
        return [one.message.id for one in outgoing]

    async def stage_async(self, connection: object, *events: object, key: str | None = None) -> Sequence[str]:
        """As `stage`, for what is awaited: a `psycopg.AsyncConnection`, an AsyncSession or AsyncConnection of
        SQLAlchemy, or a Transaction of Antiphon's own, which without `outbox=` needs a store that is not its broker's.
        """
        tx = ours(connection) or join_awaited(connection)
        outgoing = self._compose(events, key)
        await self._stage(tx, outgoing)
        database = getattr(tx, "database", None)
        if isinstance(database, HintingDatabase):
            tx.after_commit(partial(database.hint, OUTBOX_HINTS))
        return [one.message.id for one in outgoing]

    def make_tables(self, connection: object) -> None:
        """Make the tables that are missing, when the connection's transaction commits; as `antiphon storage migrate`.

        With another outbox its table is made instead; that of `"wal"` cannot be, and is UnsupportedCapabilityError
        until whoever publishes from it has made it. Takes what `stage` takes. Twice is safe. On PostgreSQL whoever
        makes tables of the schema waits for those who do, until their commit; a transaction that does not see what they
        have made, since its isolation is stricter, is refused with TransactionConflictError: roll back, and begin
        again. Raises UsageError, StoreVersionError, MigrationError, StoreError.
        """
        at_once(self._make(join_plain(connection, "make_tables")))

    async def make_tables_async(self, connection: object) -> None:
        """As `make_tables`, for what is awaited: a `psycopg.AsyncConnection`, an AsyncSession or AsyncConnection of
        SQLAlchemy. A store of Antiphon's makes its tables when it is opened, so a Transaction of it is a UsageError.
        """
        if ours(connection) is not None:
            raise UsageError("make_tables_async(): a store of Antiphon's own has made its tables when it was opened")
        await self._make(join_awaited(connection, "make_tables_async"))

    async def _make(self, tx: JoinedTransaction) -> None:
        await (make_own_tables(tx) if self._outbox is None else self._outbox.make_in(tx))

    def _compose(self, events: Sequence[object], key: str | None) -> list[Outgoing]:
        return [self._composer.first(event, key=key) for event in events]

    async def _stage(self, tx: Transaction, outgoing: Sequence[Outgoing]) -> None:
        now = self._clock.now()
        try:
            if self._outbox is None:
                await stage(tx, outgoing, now)
            else:
                await self._outbox.require(tx)
                await self._outbox.stage(tx, outgoing, now)
        except StatementError as error:
            if _MISSING.search(str(error)) is None:
                raise
            how = "with `antiphon storage migrate --store URL`, or" if self._outbox is None else "with"
            raise StatementError(f"{error}: make the tables {how} Outbox.make_tables()") from error


def _require_source(source: object) -> None:
    """Callers without a type checker pass anything, and the name goes into every message."""
    if not isinstance(source, str) or not source.strip():
        raise DeclarationError(f'Outbox({source!r}): give it the name of your application, as in Outbox("shop")')
