"""A statement carries how it is said elsewhere, and whoever does not care sees a text."""

from importlib.resources import files

import pytest

from antiphon.errors import DeclarationError
from antiphon.storage.dialects import PortableSql, filled, spoken
from antiphon.storage.migrations import checksum, load_migrations, own_migrations
from antiphon.storage.queries import load_queries


def test_without_a_wording_it_is_the_same_everywhere():
    assert spoken("select 1", "postgres") == spoken(PortableSql("select 1"), "postgres") == "select 1"


def test_with_a_wording_each_database_is_told_its_own():
    statement = PortableSql.of("select json(?)", {"postgres": "select cast(? as json)"})
    assert statement == "select json(?)"
    assert spoken(statement, "sqlite") == "select json(?)"
    assert spoken(statement, "postgres") == "select cast(? as json)"


def test_what_is_filled_in_is_filled_in_everywhere():
    base = PortableSql.of("select a /* here */ limit 1", {"postgres": "select b /* here */ limit 1"})
    part = PortableSql.of("json(x)", {"postgres": "x::json"})
    both = filled(base, "/* here */", ["where ", part])
    assert both == "select a where json(x) limit 1"
    assert spoken(both, "postgres") == "select b where x::json limit 1"
    assert spoken(filled("select a /* here */", "/* here */", [part]), "postgres") == "select a x::json"


def test_our_statements_have_their_wordings():
    mark = load_queries("antiphon.storage", "sql/inbox.sql")["mark"]
    assert "json_each" in mark
    assert "json_each" not in spoken(mark, "postgres")


@pytest.mark.parametrize(
    "word", ["json_each", "json_extract", "indexed by", "insert or ", "without rowid", "autoincrement", "sqlite_"]
)
def test_nothing_that_only_sqlite_knows_is_said_to_postgres(word):
    folder = files("antiphon.storage").joinpath("sql")
    for file in folder.iterdir():
        if file.name.endswith(".sql"):
            for sql in load_queries("antiphon.storage", f"sql/{file.name}").values():
                assert word not in spoken(sql, "postgres").lower()
    for migration in own_migrations():
        assert word not in spoken(migration.sql, "postgres").lower()


def write(folder, **texts):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.sql").write_text(text)


def test_a_migration_is_run_as_its_wording_says_and_known_by_that(tmp_path):
    write(tmp_path, **{"0001_a": "create table a (b blob)", "0002_c": "create table c (d text)"})
    write(tmp_path / "postgres", **{"0001_a": "create table a (b bytea)"})
    first, second = load_migrations(tmp_path)
    assert (first.sql, spoken(first.sql, "postgres")) == ("create table a (b blob)", "create table a (b bytea)")
    assert checksum(first, "postgres") != checksum(first) == checksum(first, "sqlite")
    assert checksum(second, "postgres") == checksum(second)


@pytest.mark.parametrize("name", ["0002_c", "0001_b"])
def test_a_wording_of_no_migration_is_refused(tmp_path, name):
    write(tmp_path, **{"0001_a": "create table a (b blob)"})
    write(tmp_path / "postgres", **{name: "create table a (b bytea)"})
    with pytest.raises(DeclarationError, match=f"{name}.sql stands for no file of that name"):
        load_migrations(tmp_path)
