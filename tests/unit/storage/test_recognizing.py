"""A connection is known by its class's name, whoever wrote the class, and no driver is loaded to look."""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import psycopg
import pytest
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session, scoped_session

from antiphon.storage.recognizing import (
    is_for_plain_functions,
    is_given_to_handlers,
    is_lent_by_stores,
    kind_of,
)

LIGHT = """
import sys
from antiphon.storage.recognizing import join_plain
try:
    join_plain(object())
except Exception as error:
    assert type(error).__name__ == "UsageError", error
assert not {"sqlite3", "psycopg", "sqlalchemy", "django"} & set(sys.modules), sorted(sys.modules)
"""


class OwnSession(Session):
    pass


class OwnConnection(sqlite3.Connection):
    pass


@pytest.mark.parametrize(
    ("cls", "is_awaited"),
    [
        (sqlite3.Connection, False),
        (OwnConnection, False),
        (psycopg.Connection, False),
        (psycopg.AsyncConnection, True),
        (Session, False),
        (OwnSession, False),
        (scoped_session, False),
        (Connection, False),
        (AsyncSession, True),
        (AsyncConnection, True),
        (str, False),
    ],
)
def test_a_kind_is_recognized_with_what_inherits_from_it(cls, is_awaited):
    kind = kind_of(cls)
    assert kind is not None
    assert kind.is_awaited is is_awaited


@pytest.mark.parametrize("cls", [int, object, dict])
def test_anything_else_is_no_kind(cls):
    assert kind_of(cls) is None
    assert not is_given_to_handlers(cls)


def test_handlers_are_given_connections_of_stores_and_sessions_of_any_class_of_their_own():
    for cls in (sqlite3.Connection, psycopg.Connection, psycopg.AsyncConnection):
        assert is_lent_by_stores(cls)
        assert is_given_to_handlers(cls)
    assert is_given_to_handlers(OwnSession)
    assert is_given_to_handlers(AsyncSession)
    assert not is_given_to_handlers(OwnConnection), "a store has no connections of that class"
    assert not is_given_to_handlers(str), "an alias of Django is no session"


def test_a_session_belongs_to_plain_functions_or_to_coroutines_or_to_both():
    assert is_for_plain_functions(Session) is True
    assert is_for_plain_functions(AsyncSession) is False
    assert is_for_plain_functions(sqlite3.Connection) is None


def test_looking_loads_no_driver():
    subprocess.run([sys.executable, "-c", LIGHT], check=True)
