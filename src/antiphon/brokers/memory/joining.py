"""Whether a caller's transaction is one that this broker can take part in."""

from __future__ import annotations

from antiphon.errors import UsageError
from antiphon.storage.database import Database, Transaction
from antiphon.storage.sqlite import SqliteTransaction


def require_own(tx: Transaction, database: Database) -> None:
    """Refuse a transaction of another database: its commit would say nothing about this one."""
    if not (isinstance(tx, SqliteTransaction) and tx.database is database):
        raise UsageError(
            "the transaction belongs to another database than this memory broker's: begin it on broker.database"
        )
