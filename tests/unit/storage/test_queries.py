"""SQL lives in files, each statement under a name."""

from importlib.resources import files

import pytest

from antiphon.errors import DeclarationError
from antiphon.storage.queries import load_queries, parse_queries


def test_each_name_begins_a_statement():
    queries = parse_queries("-- About it.\n\n-- name: one\nselect 1;\n\n-- name: two\nselect\n  2;\n", "q.sql")
    assert queries == {"one": "select 1", "two": "select\n  2"}


def test_statements_carry_no_comments():
    text = "-- name: one\n-- why\nselect 1,\n  -- and this\n  2 - -1, '--';\n-- the end\n"
    assert parse_queries(text, "q.sql")["one"] == "select 1,\n  2 - -1, '--'"
    names = [file.name for file in files("antiphon.storage").joinpath("sql").iterdir() if file.name.endswith(".sql")]
    for name in names:
        for sql in load_queries("antiphon.storage", f"sql/{name}").values():
            assert "--" not in sql
            assert all("--" not in wording for wording in sql.wordings.values())


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("-- name: one\nselect 1;\n-- name: one\nselect 2;", "two queries are called 'one'"),
        ("-- name: one\n-- only words\n-- name: two\nselect 2;", "'one' has no statement"),
        ("-- name: one\n-- name: two\nselect 2;", "'one' has no statement"),
        ("-- name: Claim-Lease\nselect 1;", "'Claim-Lease' is no name"),
        ("-- name:\nselect 1;", "'' is no name"),
    ],
)
def test_a_wrong_file_is_refused_and_named(text, complaint):
    with pytest.raises(DeclarationError, match=f"q.sql: .*{complaint}"):
        parse_queries(text, "q.sql")


def test_a_missing_file_is_named():
    with pytest.raises(DeclarationError, match=r"antiphon.storage/sql/nowhere.sql: cannot read"):
        load_queries("antiphon.storage", "sql/nowhere.sql")


def test_our_own_files_load_once():
    names = [file.name for file in files("antiphon.storage").joinpath("sql").iterdir() if file.name.endswith(".sql")]
    assert {"inbox.sql", "dead_letters.sql", "replicas.sql", "migrations.sql"} <= set(names)
    for name in names:
        first = load_queries("antiphon.storage", f"sql/{name}")
        assert first
        assert load_queries("antiphon.storage", f"sql/{name}") is first
