"""Looking into a place changes nothing there: neither what is not Antiphon's, nor what an older version made."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from urllib.parse import urlsplit

import psycopg
import pytest

from antiphon import Outbox
from antiphon.events.ids import new_id
from antiphon.storage.migrations import own_migrations

LETTERS = (
    ("list",),
    ("show", "0123456789"),
    ("diff", "0123456789"),
    ("dropped",),
    ("redrives",),
    ("edit", "0123456789", "--set", "a=1"),
    ("retry", "--all", "--yes"),
    ("drop", "--all", "--yes"),
)
SCHEDULED = (("list",), ("cancel", "0123456789"))
COMMANDS = [*(("dead-letters", *each) for each in LETTERS), *(("scheduled", *each) for each in SCHEDULED)]


def refused(done, *texts, code=2):
    assert (done.returncode, done.stdout) == (code, ""), (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    for text in texts:
        assert text in done.stderr
    return True


def foreign(folder, name="shop.db"):
    """A file of an application that knows nothing of Antiphon; returns its bytes."""
    with closing(sqlite3.connect(folder / name)) as connection:
        connection.execute("create table orders (order_id text primary key)")
        connection.commit()
    return (folder / name).read_bytes()


def with_outbox(folder):
    with closing(sqlite3.connect(folder / "shop.db")) as connection:
        Outbox("shop").make_tables(connection)
        connection.commit()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_store_of_somebody_else_is_told_and_left_as_it_is(ask, command):
    before = foreign(ask.folder)
    told = f"there is nothing of Antiphon in sqlite:///{ask.folder}/shop.db: antiphon storage migrate makes it"
    assert refused(ask(*command, "--store", "sqlite:///shop.db"), told)
    assert (ask.folder / "shop.db").read_bytes() == before
    assert not (ask.folder / ".antiphon").exists()


def test_a_log_of_somebody_else_is_told_and_left_as_it_is(ask):
    before = foreign(ask.folder)
    for command in (["topics"], ["groups"], ["groups", "inspect", "payments"], ["tail", "orders"]):
        assert refused(ask(*command, "--broker", "embedded:///shop.db"), "there is nothing of Antiphon in")
    assert (ask.folder / "shop.db").read_bytes() == before


def test_a_schema_that_is_mistyped_is_not_made(ask, postgres_url):
    for command in COMMANDS[:1] + COMMANDS[-2:]:
        told = f"nothing of Antiphon in {postgres_url}, or this user may not use its schema: antiphon storage migrate"
        assert refused(ask(*command, "--store", postgres_url), told)
    planned = json.loads(ask("storage", "plan", "--store", postgres_url, "--json").stdout)
    assert len([step for step in planned if step["component"] == "antiphon"]) == len(own_migrations())


def test_a_store_of_an_older_version_is_told_and_left_to_a_migration(ask):
    with_outbox(ask.folder)
    last = len(own_migrations())
    with closing(sqlite3.connect(ask.folder / "shop.db")) as connection:
        connection.execute("delete from antiphon_migrations where version = ?", [last])
        connection.commit()
    told = "is older than this command: antiphon storage migrate brings it up to date"
    assert refused(ask("dead-letters", "list", "--store", "sqlite:///shop.db"), told)
    with closing(sqlite3.connect(ask.folder / "shop.db")) as connection:
        assert connection.execute("select max(version) from antiphon_migrations").fetchone() == (last - 1,)


def test_what_only_asks_the_store_needs_no_log(ask):
    with_outbox(ask.folder)
    for command in (("dead-letters", "list"), ("dead-letters", "dropped"), ("dead-letters", "redrives")):
        assert ask(*command, "--store", "sqlite:///shop.db").returncode == 0
    assert ask("scheduled", "list", "--store", "sqlite:///shop.db").stdout == "nothing is scheduled\n"
    assert refused(ask("groups", "inspect", "shop", "--store", "sqlite:///shop.db"), "there is no log at", code=3)
    assert not (ask.folder / ".antiphon").exists()


def test_a_user_who_may_not_use_a_schema_is_told_that_it_may_be_there(ask, postgres_url):
    assert ask("storage", "migrate", "--store", postgres_url).returncode == 0
    schema, user = postgres_url.rpartition("=")[2], f"u_{new_id().replace('-', '')}"
    with psycopg.connect(postgres_url.partition("?")[0], autocommit=True) as connection:
        connection.execute(f"create role {user} login password 's3cret'")
    parts = urlsplit(postgres_url)
    url = f"postgresql://{user}:s3cret@{parts.netloc.rpartition('@')[2]}{parts.path}?schema={schema}"
    assert refused(ask("dead-letters", "list", "--store", url), "or this user may not use its schema")
    told = "hint:  or it is there, and this user may not use it"
    assert refused(ask("storage", "migrate", "--store", url), "the schema is not there", told, code=3)
