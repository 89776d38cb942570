"""Services keep their promises also where their store is not the broker's own, and a relay stands between."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.brokers.memory import MemoryBroker
from antiphon.brokers.ports import Broker
from antiphon.storage.connect import connect_store
from antiphon.storage.database import Database
from antiphon.storage.sqlite import SqliteDatabase
from antiphon.testing.scenarios.outages import Away
from tests.conformance import test_scenarios
from tests.conformance.test_scenarios import Every, InMemory, LeapingClock


class Beside(Every):
    """What is promised of one commit for everything is not: there are two, and the inbox stands between."""

    own: Database
    test_parking_and_settling_are_one_commit = None
    test_a_full_disk_is_waited_for_and_nothing_is_parked = None
    # Without an inbox nothing recognizes what a stalled process handles, too.
    test_who_lost_its_lease_is_undone_and_the_next_owner_repeats = None
    # What the broker refuses is a dead letter of the outbox, and no failure of who emitted it: see tests of the relay.
    test_what_the_broker_refuses_costs_only_its_own_message = None
    test_what_follows_a_refused_message_of_its_key_is_sent_all_the_same = None
    test_what_follows_a_message_whose_answer_is_refused_waits_behind_it = None

    def beside(self, broker: Broker) -> Database:
        return broker.keep_in(self.own) if isinstance(broker, Away) else self.own


class BesideMemory(Beside, InMemory):
    @pytest.fixture
    async def broker(self) -> AsyncIterator[Broker]:
        self.time = LeapingClock()
        broker = MemoryBroker(self.model, clock=self.time)
        self.own = SqliteDatabase(":memory:")
        await broker.open()
        await self.own.open()
        yield broker
        await broker.close()
        await broker.database.close()
        await self.own.close()


class TestPostgres(Beside, test_scenarios.TestEmbedded):
    """The log in a file, the store on a server, in real time."""

    # It fills a file of SQLite's.
    test_a_full_disk_is_waited_for_whatever_the_handler_makes_of_it = None

    @pytest.fixture
    async def broker(self, tmp_path: Path, postgres_url: str) -> AsyncIterator[Broker]:
        self.opened = EmbeddedBroker(tmp_path / "log.db")
        self.own = connect_store(postgres_url)
        await self.opened.open()
        await self.own.open()
        yield self.opened
        await self.opened.close()
        await self.own.close()


class TestMemoryLog(BesideMemory):
    model = "log"


class TestMemoryQueue(BesideMemory):
    model = "queue"
