"""How do our tables come to be over a connection of the application's own, in its transaction?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from antiphon.storage.database import Migration, Row, SqlValue
from antiphon.storage.dialects import Dialect, spoken
from antiphon.storage.joining import JoinedTransaction
from antiphon.storage.migrations import apply_migrations, own_migrations
from antiphon.storage.queries import load_queries
from antiphon.storage.statements import split_script

_SQL = load_queries("antiphon.storage", "sql/migrations.sql")
_COMMENT = re.compile(r"--[^\n]*")


async def make_own_tables(tx: JoinedTransaction) -> None:
    """Make what is missing of our own tables when the transaction commits; twice is safe. Raises as `migrate` does."""
    await make_tables_in(tx, "antiphon", own_migrations())


async def make_tables_in(tx: JoinedTransaction, component: str, migrations: Sequence[Migration]) -> None:
    """As `Database.migrate`, when the transaction commits."""
    await apply_migrations(_JoinedDatabase(tx), component, migrations)


class _JoinedDatabase:
    """As a `MigratableDatabase` of which every transaction is the application's own."""

    def __init__(self, tx: JoinedTransaction) -> None:
        self._tx = tx
        self.name = tx.connection.name
        self.dialect: Dialect = tx.connection.dialect

    async def begin_migration(self) -> _JoinedMigration:
        await self._tx.execute(_SQL["take_turn"], None)
        if await self.fetch(_SQL["has_table"]):
            await self._tx.execute(_SQL["begin"])
        return _JoinedMigration(self._tx.connection)

    async def fetch(self, sql: str, *args: SqlValue) -> list[Row]:
        return await self._tx.fetch(sql, *args)


class _JoinedMigration(JoinedTransaction):
    """As a `ScriptTransaction` that is neither committed nor rolled back here."""

    async def run_script(self, sql: str) -> None:
        for statement in statements(spoken(sql, self.connection.dialect)):
            await self.execute(statement)

    async def savepoint(self) -> None: ...

    async def release(self) -> None: ...

    async def undo(self) -> None: ...

    async def commit(self) -> None: ...

    async def rollback(self) -> None: ...


def statements(script: str) -> Iterator[str]:
    """The statements of one of our own scripts, which have semicolons in comments and in triggers but in no string."""
    for statement in split_script(_COMMENT.sub("", script), _is_complete):
        yield statement.removesuffix(";")


def _is_complete(statement: str) -> bool:
    return "create trigger" not in statement or statement.endswith("end;")
