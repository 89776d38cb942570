"""The store on a PostgreSQL server: what other rooms may use of it."""

from antiphon.storage.postgres.address import parse_address
from antiphon.storage.postgres.database import PostgresDatabase
from antiphon.storage.postgres.transaction import PostgresTransaction

__all__ = ["PostgresDatabase", "PostgresTransaction", "parse_address"]
