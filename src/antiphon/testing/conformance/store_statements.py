"""What every store promises of statements: values come back as they went, and what is wrong is refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

import pytest

from antiphon.errors import SchemaError, StatementError, StoreError
from antiphon.storage.database import Database, OpenTransaction, SqlValue
from antiphon.testing.conformance.store_suite import ENTRIES, INSERT, Entry, StoreSuite, entries

WRONG: Sequence[tuple[str, *tuple[SqlValue, ...]]] = (
    ("selec 1",),
    ("insert into nowhere values (1)",),
    ("insert into ledger values (?, ?)", 1),
    ("insert into ledger values (?, 'a')", 2**70),
    ("insert into ledger (id, entry) values (1, ?)", "\ud800"),
    ("insert into ledger (id, entry) values (1, ?)", cast("SqlValue", object())),
)


class StatementConformance(StoreSuite):
    """Statements and their values."""

    bytes_type: ClassVar[str] = "blob"
    """What a column of bytes is called."""

    async def test_rows_come_as_tuples_or_as_what_was_asked_for(self, database: Database) -> None:
        tx = await self.begun(database)
        await tx.execute_many(INSERT, [(1, "a"), (2, "b")])
        assert await tx.fetch("select id, entry from ledger order by id") == [(1, "a"), (2, "b")]
        assert await tx.fetch("select id, entry from ledger order by id", row=Entry) == [Entry(1, "a"), Entry(2, "b")]
        assert await tx.fetch_one("select id, entry from ledger where entry = ?", "b", row=Entry) == Entry(2, "b")
        assert await tx.fetch_one("select entry from ledger order by id") == ("a",)
        assert await tx.fetch_one("select entry from ledger where id = 9") is None
        assert await tx.fetch_one("select entry from ledger where id = 9", row=str) is None
        with pytest.raises(SchemaError):
            await tx.fetch("select entry from ledger", row=int)
        await tx.rollback()

    async def test_values_come_back_as_they_went(self, database: Database) -> None:
        text = "create table kept (n integer primary key, i bigint, f double precision, t text, b {bytes})"
        tx = await self.begun(database)
        await tx.execute(text.format(bytes=self.bytes_type))
        rows: list[tuple[SqlValue, ...]] = [
            (1, 0, 0.5, "", b""),
            (2, 2**63 - 1, -1e300, "it's \u00fc\U0001f600 $1 ? %s \\ \n", bytes(range(256))),
            (3, -(2**63), 1e-300, "null", b"\\x00"),
            (4, None, None, None, None),
        ]
        await tx.execute_many("insert into kept values (?, ?, ?, ?, ?)", rows)
        assert await tx.fetch("select * from kept order by n") == rows
        await tx.rollback()

    async def test_values_go_where_they_are_asked_for_and_nowhere_else(self, database: Database) -> None:
        tx = await self.begun(database)
        await tx.execute("insert into ledger (entry, id) values (?2, ?1)", 1, "a?")
        await tx.execute("insert into ledger (id, entry) values (?, 'b?''?') -- why?\n", 2)
        select = 'select id + ?2, entry as "?" from ledger where id = ?1'
        await tx.execute(f"insert into ledger (id, entry) /* ? */ {select}", 1, 2)
        found = await tx.fetch("select id, entry from ledger where id >= ? order by id", 1)
        assert found == [(1, "a?"), (2, "b?'?"), (3, "a?")]
        await tx.rollback()

    async def test_a_wrong_statement_is_refused(self, database: Database) -> None:
        await (await self.begun(database)).rollback()
        for sql, *args in WRONG:
            tx = await database.begin()
            with pytest.raises(StatementError, match="cannot run "):
                await self._execute_and_commit(tx, sql, args)
            await tx.rollback()
            tx = await database.begin()
            with pytest.raises(StatementError, match="cannot run "):
                await tx.fetch(sql, *args)
            await tx.rollback()
            with pytest.raises(StatementError, match="cannot r"):
                await database.fetch(sql, *args)
        assert await entries(database) == []

    async def _execute_and_commit(self, tx: OpenTransaction, sql: str, args: Sequence[SqlValue]) -> None:
        await tx.execute(sql, *args)
        await tx.commit()

    async def test_a_statement_cannot_end_the_transaction(self, database: Database) -> None:
        tx = await self.begun(database)
        await tx.execute(INSERT, 1, "a")
        for word in ("commit", "rollback", "end", "begin", "savepoint x", "/* so */ commit"):
            for run in (tx.execute, tx.fetch):
                with pytest.raises(StatementError, match="who began"):
                    await run(word)
            with pytest.raises(StatementError, match="who began"):
                await tx.execute_many(word, [()])
        assert await entries(database) == []
        await tx.commit()
        assert await entries(database) == ["a"]

    async def test_reading_cannot_write(self, database: Database) -> None:
        await (await self.begun(database)).rollback()
        with pytest.raises(StoreError):
            await database.fetch(INSERT, 1, "a")
        assert await database.fetch(ENTRIES) == []

    async def test_many_statements_are_one_transaction(self, database: Database) -> None:
        tx = await self.begun(database)
        await tx.execute_many(INSERT, ((number, str(number)) for number in range(5000)))
        await tx.execute(INSERT, 5000, "last")
        await tx.commit()
        assert await database.fetch("select count(*), max(id) from ledger") == [(5001, 5000)]
