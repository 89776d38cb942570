"""The store in a file and the one on a server keep every promise of a store."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar

import pytest

from antiphon.storage.database import Database
from antiphon.storage.postgres import PostgresDatabase
from antiphon.storage.sqlite import SqliteDatabase
from antiphon.testing.conformance import StoreConformance


class TestSqlite(StoreConformance):
    @pytest.fixture
    async def database(self, tmp_path: Path) -> AsyncIterator[Database]:
        self.path = tmp_path / "store.db"
        database = SqliteDatabase(self.path)
        await database.open()
        yield database
        await database.close()

    def beside(self, database: Database) -> Database:
        return SqliteDatabase(self.path)


class TestPostgres(StoreConformance):
    bytes_type: ClassVar[str] = "bytea"
    options: ClassVar[str] = ""

    @pytest.fixture
    async def database(self, postgres_url: str) -> AsyncIterator[Database]:
        self.url = postgres_url + self.options
        database = PostgresDatabase(self.url)
        await database.open()
        yield database
        await database.close()

    def beside(self, database: Database) -> Database:
        return PostgresDatabase(self.url)


class TestStrictPostgres(TestPostgres):
    options: ClassVar[str] = "&isolation=serializable"


class TestRepeatablePostgres(TestPostgres):
    options: ClassVar[str] = "&isolation=repeatable-read"
