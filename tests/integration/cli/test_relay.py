"""A relay alone publishes what an application that knows nothing of services staged, and drains when it is stopped."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing

from antiphon import Key, Outbox, Struct, event

STORE = ("--store", "sqlite:///shop.db")


@event(topic="parcels")
class ParcelSent(Struct, frozen=True):
    parcel_id: Key[str]


def stage(folder, *parcels):
    outbox = Outbox("shop")
    with closing(sqlite3.connect(folder / "shop.db")) as connection:
        outbox.make_tables(connection)
        outbox.stage(connection, *(ParcelSent(each) for each in parcels))
        connection.commit()


def published(ask):
    topics = json.loads(ask("topics", "--json").stdout or "[]")
    return sum(topic["messages"] for topic in topics if topic["name"] == "parcels")


def until(holds):
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def test_what_is_staged_before_and_while_it_runs_is_published(antiphon, ask):
    stage(antiphon.folder, "p-1", "p-2")
    relay = antiphon.start("relay", *STORE)
    antiphon.wait_for("relaying from sqlite:///", "out")
    until(lambda: published(ask) == 2)
    stage(antiphon.folder, "p-3")
    until(lambda: published(ask) == 3)
    antiphon.stop()
    assert relay.returncode == 0


def test_without_a_store_it_says_how_to_name_one(ask):
    done = ask("relay")
    assert done.returncode == 2
    assert "error: relay: say where the outbox is: --store postgresql://..." in done.stderr


def test_two_relays_share_the_work(antiphon, ask):
    stage(antiphon.folder, *(f"p-{number}" for number in range(200)))
    antiphon.start("relay", *STORE)
    antiphon.start("relay", *STORE)
    until(lambda: published(ask) >= 200)
    stage(antiphon.folder, "last")
    until(lambda: published(ask) >= 201)
    assert published(ask) == 201


def test_a_file_that_nobody_made_is_told_and_not_made(ask):
    done = ask("relay", "--store", "sqlite:///new/nope.db")
    assert done.returncode == 3
    told = f"there is no store at {ask.folder}/new/nope.db: the application whose outbox it is makes it, or antiphon"
    assert told in done.stderr
    assert not (ask.folder / "new").exists()


def test_a_broker_that_would_lose_what_was_staged_is_refused(ask):
    stage(ask.folder, "p-1")
    done = ask("relay", *STORE, "--broker", "memory:///")
    assert done.returncode == 2
    assert "the broker memory:/// keeps nothing when this process ends" in done.stderr
    with closing(sqlite3.connect(ask.folder / "shop.db")) as connection:
        assert connection.execute("select count(*) from antiphon_outbox").fetchone() == (1,)
