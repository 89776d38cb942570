"""Whether the front door offers exactly the names that users were promised, and each room a face that holds."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import antiphon

FRONT_DOOR = [
    "AntiphonError",
    "Asker",
    "Database",
    "Delivery",
    "EventKind",
    "Key",
    "Message",
    "Outbox",
    "Publisher",
    "RejectError",
    "Replica",
    "Retry",
    "Service",
    "Start",
    "Struct",
    "Transaction",
    "connect",
    "event",
    "publish_blocking",
    "run",
]
"""A name that is added here goes into the glossary and the changelog; one that is taken away breaks somebody."""

FACES = ["antiphon.brokers.embedded", "antiphon.brokers.memory", "antiphon.testing"]
LIGHT = """
import sys
import antiphon
assert not {"sqlite3", "rich", "typer", "pydantic"} & set(sys.modules), sorted(sys.modules)
antiphon.event, antiphon.Struct, antiphon.Key
assert not {"sqlite3", "rich", "typer", "pydantic"} & set(sys.modules), sorted(sys.modules)
"""

LIGHT_IN_ALL = """
import sys
import antiphon
for name in antiphon.__all__:
    getattr(antiphon, name)
brought = {"sqlite3", "rich", "typer", "pydantic", "difflib", "importlib.resources", "zipfile", "tempfile"}
brought |= {"antiphon.storage.debezium_outbox", "antiphon.storage.wal_outbox", "antiphon.storage.wal_records"}
assert not brought & set(sys.modules), sorted(brought & set(sys.modules))
"""


def test_the_front_door_is_the_promised_one() -> None:
    assert sorted(antiphon.__all__) == sorted(FRONT_DOOR)


@pytest.mark.parametrize("name", FRONT_DOOR)
def test_a_public_name_is_there_and_explains_itself(name: str) -> None:
    value = getattr(antiphon, name)
    assert name in dir(antiphon)
    assert name == "Key" or getattr(value, "__doc__", None)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Servce'"):
        _ = antiphon.Servce


@pytest.mark.parametrize("face", FACES)
def test_a_face_has_what_it_lists(face: str) -> None:
    room = import_module(face)
    assert room.__all__
    assert all(hasattr(room, name) for name in room.__all__)


def test_declaring_events_loads_neither_drivers_nor_the_command_line() -> None:
    subprocess.run([sys.executable, "-c", LIGHT], check=True)


def test_asking_for_every_public_name_loads_nothing_that_only_some_of_their_uses_need() -> None:
    subprocess.run([sys.executable, "-c", LIGHT_IN_ALL], check=True)
