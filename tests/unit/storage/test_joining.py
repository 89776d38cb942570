"""Our own statements over somebody else's connection: values named for any driver, and nothing waits that need not."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from importlib.resources import files

import pytest

from antiphon.errors import StoreError
from antiphon.storage.dialects import spoken
from antiphon.storage.joining import NOTHING, Inline, JoinedTransaction, Reply, at_once, by_name, named
from antiphon.storage.making import statements
from antiphon.storage.migrations import own_migrations
from antiphon.storage.postgres.placeholders import is_complete
from antiphon.storage.queries import load_queries
from antiphon.storage.statements import first_word, split_script

QUERIES = sorted(each.name for each in files("antiphon.storage").joinpath("sql").iterdir() if each.name.endswith("sql"))


class Ledger:
    """A plain connection that notes what it is asked."""

    name = "the ledger"

    def __init__(self, dialect="sqlite", reply=NOTHING):
        self.dialect, self.reply, self.asked = dialect, reply, []

    def require_transaction(self): ...

    def run(self, sql, args):
        self.asked.append((sql, args))
        return self.reply

    def run_many(self, sql, rows):
        self.asked.append((sql, rows))


def test_a_value_is_named_after_its_place():
    assert named("values (?, ?)", ":{}") == "values (:p1, :p2)"
    assert by_name(["a", 2]) == {"p1": "a", "p2": 2}


def test_a_value_that_is_numbered_keeps_its_number_and_may_come_twice():
    assert named("select ?2, ?1, ?2, ?", "%({})s", "%%") == "select %(p2)s, %(p1)s, %(p2)s, %(p3)s"


def test_a_percent_sign_is_written_as_the_driver_wants_it():
    assert named("select 7 % ?", "%({})s", "%%") == "select 7 %% %(p1)s"
    assert named("select 7 % ?", ":{}") == "select 7 % :p1"


@pytest.mark.parametrize("dialect", ["sqlite", "postgres"])
@pytest.mark.parametrize("file", QUERIES)
def test_no_statement_of_ours_has_anything_but_values_that_could_be_taken_for_one(file, dialect):
    for query in load_queries("antiphon.storage", f"sql/{file}").values():
        sql = spoken(query, dialect)
        assert sql.count("?") == re.sub(r"'[^']*'|--[^\n]*", "", sql).count("?"), sql
        # How SQLAlchemy finds names in a text.
        assert all(re.fullmatch(r"p\d+", name) for name in re.findall(r"(?<![:\w\\]):(\w+)(?!:)", named(sql, ":{}"))), (
            sql
        )


@pytest.mark.parametrize("migration", own_migrations(), ids=lambda each: each.name)
def test_a_script_of_ours_is_divided_as_its_database_would(migration):
    found = [first_word(each) for each in statements(spoken(migration.sql, "sqlite"))]
    assert found == [first_word(each) for each in split_script(migration.sql, sqlite3.complete_statement)]
    worded = spoken(migration.sql, "postgres")
    found = [first_word(each) for each in statements(worded)]
    assert found == [first_word(each) for each in split_script(worded, is_complete)]


def test_a_statement_is_run_in_the_words_of_the_database():
    ledger = Ledger("postgres")
    tx = JoinedTransaction(Inline(ledger))
    at_once(tx.execute(load_queries("antiphon.storage", "sql/outbox.sql")["forget"], "[1]"))
    ((sql, args),) = ledger.asked
    assert "json_array_elements_text" in sql
    assert args == ("[1]",)


def test_rows_come_as_what_was_asked_for():
    tx = JoinedTransaction(Inline(Ledger(reply=Reply([("a", 1), ("b", 2)], ["name", "count"]))))
    assert at_once(tx.fetch("select", row=tuple[str, int])) == [("a", 1), ("b", 2)]
    assert at_once(tx.fetch_one("select", row=tuple[str, int])) == ("a", 1)
    assert at_once(tx.fetch("select")) == [("a", 1), ("b", 2)]
    assert at_once(JoinedTransaction(Inline(Ledger())).fetch_one("select", row=int)) is None


def test_many_rows_are_one_call_and_none_are_no_call():
    ledger = Ledger()
    tx = JoinedTransaction(Inline(ledger))
    at_once(tx.execute_many("insert", iter([("a",), ("b",)])))
    at_once(tx.execute_many("insert", []))
    assert ledger.asked == [("insert", [("a",), ("b",)])]


def test_what_was_to_be_called_after_the_commit_is_called_once_when_its_owner_says_so():
    called = []
    tx = JoinedTransaction(Inline(Ledger()))
    tx.after_commit(lambda: called.append("first"))
    tx.after_commit(lambda: called.append("second"))
    assert called == []
    tx.committed()
    tx.committed()
    assert called == ["first", "second"]


def test_what_has_to_wait_cannot_be_done_at_once():
    with pytest.raises(StoreError, match="had to wait"):
        at_once(asyncio.sleep(0))
