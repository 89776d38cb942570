"""A store is named by a URL or a path, and what cannot be one is refused with how to mend it."""

import sys
from pathlib import Path

import pytest

from antiphon.errors import SettingsError
from antiphon.storage.connect import connect_store
from antiphon.storage.postgres import PostgresDatabase
from antiphon.storage.sqlite import SqliteDatabase


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("orders.db", Path.cwd() / "orders.db"),
        ("/var/lib/orders.db", "/var/lib/orders.db"),
        ("sqlite:///orders.db", Path.cwd() / "orders.db"),
        ("sqlite:////var/lib/my%20orders.db", "/var/lib/my orders.db"),
        ("sqlite:///:memory:", ":memory:"),
        (":memory:", ":memory:"),
    ],
)
def test_a_path_is_a_file(url, path):
    store = connect_store(url)
    assert isinstance(store, SqliteDatabase)
    assert store.path == str(path)


def test_the_url_of_a_file_means_that_file():
    store = connect_store("sqlite:////var/lib/orders.db")
    assert connect_store(store.url).url == store.url == "sqlite:////var/lib/orders.db"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "PostgreSQL"])
def test_a_url_of_a_server_is_one(scheme):
    store = connect_store(f"{scheme}://ada@db/shop?schema=orders")
    assert isinstance(store, PostgresDatabase)
    assert store.schema == "orders"


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("", "is empty"),
        (
            "mysql://ada:s3cret@db/shop",
            r"no store has the scheme 'mysql' of mysql://ada:\*\*\*@db/shop; there are sqlite://",
        ),
        ("sqlite:///", "names no file"),
        ("sqlite://orders.db", "names no file: write sqlite:///orders.db"),
        ("postgresql://db/shop?schem=orders", "did you mean 'schema'"),
    ],
)
def test_what_is_none_is_refused(url, complaint):
    with pytest.raises(SettingsError, match=complaint):
        connect_store(url)


def test_a_driver_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    for name in [*sys.modules]:
        if name.startswith("antiphon.storage.postgres"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(
        SettingsError, match=r"needs psycopg, which is not installed: pip install 'antiphon\[postgres\]'"
    ):
        connect_store("postgresql://ada:s3cret@db/shop")
