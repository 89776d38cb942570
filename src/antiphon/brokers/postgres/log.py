"""Which log is it, and who may write to it in which transaction?"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Sequence
from importlib.resources import files

from antiphon.errors import StoreCorruptError, UsageError
from antiphon.storage.database import Migration, Transaction
from antiphon.storage.migrations import load_migrations
from antiphon.storage.postgres import PostgresDatabase, PostgresTransaction
from antiphon.storage.queries import load_queries
from antiphon.storage.sessions import OwnedTransaction

LOG = "log"
"""What the tables of the log are called among all that have tables in a schema."""
HINTS = "log"
"""The channel of those who publish and of those who read."""
_MIGRATIONS = files("antiphon.brokers.postgres").joinpath("sql", "migrations")
_READ_ID = load_queries("antiphon.brokers.postgres", "sql/topics.sql")["log"]
_LATEST = "set transaction isolation level read committed"

Joined = PostgresTransaction | OwnedTransaction
"""A transaction that can publish and settle when it commits."""


def log_migrations() -> Sequence[Migration]:
    """How the tables of the log come to be, in order."""
    return load_migrations(_MIGRATIONS)


class Log:
    """The log in one schema of a database."""

    def __init__(self, database: PostgresDatabase) -> None:
        self.database = database
        self.id = ""
        """What tells it from a log that others made in its place."""

    async def open(self) -> None:
        """Make its tables, where they are missing, and learn which one it is. Raises StoreError."""
        await self.database.migrate(LOG, log_migrations())
        found = await self.database.fetch(_READ_ID, row=str)
        if not found:
            raise self.gone()
        self.id = found[0]

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncGenerator[PostgresTransaction]:
        """As `Database.transaction`; a stricter isolation would refuse what others changed since its beginning."""
        async with self.database.transaction() as tx:
            if self.database.isolation != "read-committed":
                await tx.execute(_LATEST)
            yield tx

    def joined(self, tx: Transaction) -> Joined:
        """The transaction, when it writes to the log's own database. Raises UsageError."""
        if isinstance(tx, Joined) and tx.database is self.database:
            return tx
        raise UsageError(
            f"the transaction does not write to {self.database.url}: begin it on the broker's own database, "
            "broker.database"
        )

    def gone(self) -> StoreCorruptError:
        """What to raise when the tables are not those that were opened."""
        return StoreCorruptError(
            f"{self.database.name}: the log that was opened is not there any more: its tables were emptied, or removed "
            "and made anew. Restore them, or restart this process to begin with what is there now"
        )
