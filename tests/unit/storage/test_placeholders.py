"""Values go where a question mark asks for one, and nowhere else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.storage.postgres.placeholders import is_complete, numbered, quoted


@pytest.mark.parametrize(
    ("sql", "expected", "values"),
    [
        ("select 1", "select 1", 0),
        ("select ?, ?", "select $1, $2", 2),
        ("select ?2, ?1, ?2", "select $2, $1, $2", 2),
        ("select ?3, ?", "select $3, $4", 4),
        ("select ?::text", "select $1::text", 1),
        ("select '?', ?", "select '?', $1", 1),
        ("select 'it''s ?', ?", "select 'it''s ?', $1", 1),
        (r"select 'a\', ?", r"select 'a\', $1", 1),
        (r"select e'a\'?', ?", r"select e'a\'?', $1", 1),
        (r"select E'\\', ?", r"select E'\\', $1", 1),
        (r"select date'?', ?, name'?'", r"select date'?', $1, name'?'", 1),
        ('select "a?""?", ?', 'select "a?""?", $1', 1),
        ("select $$ ? $$, ?", "select $$ ? $$, $1", 1),
        ("select $a$ ? $$ ? $b$ ? $a$, ?", "select $a$ ? $$ ? $b$ ? $a$, $1", 1),
        ("select a$b$c, ?, d$b$e", "select a$b$c, $1, d$b$e", 1),
        ("select 1 -- ?\n, ?", "select 1 -- ?\n, $1", 1),
        ("select 1 /* ? /* ? */ ? */, ?", "select 1 /* ? /* ? */ ? */, $1", 1),
        ("select data ?? 'key', ? from t", "select data ? 'key', $1 from t", 1),
        ("select data ??| array[?]", "select data ?| array[$1]", 1),
        ("select '?", "select '?", 0),
        ("select /* ?", "select /* ?", 0),
        ("select $a$ ?", "select $a$ ?", 0),
    ],
)
def test_each_question_mark_that_asks_for_a_value_is_numbered(sql, expected, values):
    assert numbered(sql) == (expected, values)


PIECES = st.sampled_from(["'", '"', "$$", "$a$", "--", "/*", "*/", "\n", "e'", "\\", "x", " ", ";"])


@given(st.lists(PIECES))
def test_a_text_without_a_question_mark_stays_as_it_is(pieces):
    sql = "".join(pieces)
    assert numbered(sql) == (sql, 0)


@given(st.lists(PIECES))
def test_what_is_complete_takes_a_value_behind_it(pieces):
    sql = "".join(pieces) + ";"
    if is_complete(sql):
        assert numbered(sql + " select ?") == (sql + " select $1", 1)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select 1;", True),
        ("select ';", False),
        ("select ';';", True),
        ("-- not yet;", False),
        ("-- done\n;", True),
        ("/* not yet;", False),
        ("create function f() returns int language sql as $$ select 1;", False),
        ("create function f() returns int language sql as $$ select 1; $$;", True),
        ('create table "a;', False),
    ],
)
def test_a_statement_ends_at_a_semicolon_that_is_in_nothing(sql, expected):
    assert is_complete(sql) is expected


def test_a_name_of_any_characters_is_quoted():
    assert quoted('my "schema"') == '"my ""schema"""'
