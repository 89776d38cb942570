"""A statement's text is judged before it runs, and a script falls into its statements."""

import sqlite3

import pytest

from antiphon.errors import StatementError
from antiphon.storage.statements import (
    KnownStatements,
    ends_transaction,
    first_word,
    refuse_owners_words,
    shorten,
    split_script,
)

TRIGGER = """create trigger note after insert on ledger begin
  insert into notes values ('a;b');
  insert into notes values (2);
end"""


def split(script):
    return list(split_script(script, sqlite3.complete_statement))


def test_a_script_falls_into_its_statements():
    assert split("create table a (x); create table b (y);\n") == ["create table a (x);", "create table b (y);"]


def test_the_last_statement_needs_no_semicolon():
    assert split("select 1; select 2") == ["select 1;", "select 2;"]


@pytest.mark.parametrize("statement", ["select 'a;b';", 'select 1 as "a;b";', "select 1 -- one; two\n;", TRIGGER + ";"])
def test_a_semicolon_inside_a_statement_divides_nothing(statement):
    assert split(statement + "\nselect 2;") == [statement, "select 2;"]


@pytest.mark.parametrize("script", ["", "  \n", ";;", "-- nothing here", "/* nothing; */ ;"])
def test_a_script_without_statements_has_none(script):
    assert split(script) == []


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("Select 1", "select"),
        ("  -- why; not\n/* a */ COMMIT;", "commit"),
        ("end;", "end"),
        ("", ""),
        ("-- only this", ""),
    ],
)
def test_the_first_word_stands_past_comments(sql, word):
    assert first_word(sql) == word


@pytest.mark.parametrize("sql", ["commit", "ROLLBACK to x", "/* sly */ end", "begin", "savepoint a", "vacuum"])
def test_ending_the_transaction_is_its_owners_business(sql):
    with pytest.raises(StatementError, match="who began the transaction ends it"):
        refuse_owners_words(sql)


def test_statements_that_only_look_like_it_pass():
    refuse_owners_words("insert into endings values ('commit')")


def test_an_error_text_shows_a_long_statement_in_one_short_line():
    short = shorten("select\n   1, " + "x" * 500)
    assert short.startswith("select 1, xx")
    assert len(short) == 120


def test_known_statements_are_bounded():
    known = KnownStatements()
    for number in range(25_000):
        known.admit(f"select {number}")
        assert f"select {number}" in known
    assert len(known) <= 10_000


@pytest.mark.parametrize("sql", ["commit", "  END;", "rollback", "ROLLBACK work", "/* so */ abort", "commit and chain"])
def test_a_statement_that_ends_its_transaction_is_known(sql):
    assert ends_transaction(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "select 'commit'",
        "rollback to part",
        "rollback transaction to part",
        "savepoint end",
        "",
        "release a",
        "-- commit",
    ],
)
def test_a_statement_that_ends_a_part_of_it_or_nothing_is_none(sql):
    assert not ends_transaction(sql)
