"""The store in a SQLite file: what other rooms may use of it."""

from antiphon.storage.sqlite.database import SqliteDatabase
from antiphon.storage.sqlite.transaction import SqliteTransaction

__all__ = ["SqliteDatabase", "SqliteTransaction"]
