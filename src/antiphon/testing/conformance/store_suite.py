"""What the promises of a store need to be tried: hooks for the adapter's test, and a table to write to."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from msgspec import Struct

from antiphon.errors import UnsupportedCapabilityError
from antiphon.storage.database import Database, Migration, OpenTransaction, Transaction

INSERT = "insert into ledger (id, entry) values (?, ?)"
ENTRIES = "select entry from ledger order by id"
LEDGER = Migration(1, "make_ledger", "create table ledger (id integer primary key, entry text not null);")


class Entry(Struct):
    """A row of the table that promises are tried on."""

    id: int
    entry: str


class StoreSuite:
    """The hooks that an adapter's test may replace, and what the promises share.

    A subclass offers an async pytest fixture `database`: an open database that holds nothing of other tests, closed
    afterwards.
    """

    patience: ClassVar[timedelta] = timedelta(seconds=20)
    """In real time: whatever must end and has not after this never does."""

    def beside(self, database: Database) -> Database:
        """Another value, not yet open, for the same tables, as another process has one; the promise closes it."""
        raise UnsupportedCapabilityError(database.url, "other processes", "nobody else can open it")

    async def begun(self, database: Database) -> OpenTransaction:
        """A transaction with an empty table `ledger`."""
        await database.migrate("ledger", [LEDGER])
        return await database.begin()


async def entries(store: Database | Transaction) -> list[str]:
    """What the ledger holds, in order."""
    return await store.fetch(ENTRIES, row=str)
