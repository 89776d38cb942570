"""Services stopped in the middle of their work go on with another broker: nothing is lost, doubled or out of order."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from antiphon.events.ids import new_id

Server = Callable[[str], str]
ROOT = Path(__file__).parents[3]
CUSTOMERS, FIRST, ALL = 12, 120, 160
"""How many orders each customer places before the move, and in all."""


class Street:
    """The services of one run, whose store is the file of the log that they begin on."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.run = folder, new_id().replace("-", "")[-10:]
        self.log, self.store = f"embedded:///{folder / 'log.db'}", f"sqlite:///{folder / 'log.db'}"
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, role: str, broker: str, *rest: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.integration.moving.street", role, broker, *rest]
        with (self.folder / f"{len(self.started)}-{role}.txt").open("wb") as told:
            process = subprocess.Popen(command, cwd=ROOT, env=self._environment(), stdout=told, stderr=told)
        self.started.append(process)
        return process

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, self.told()

    def antiphon(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "antiphon", *arguments],
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def move(self, source: str, target: str, *more: str) -> list[dict[str, object]]:
        where = ("--from", source, "--to", target, "--store", self.store, "--watch", "200ms", "--json")
        done = self.antiphon("move", *where, *more)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANTIPHON_")}
        return {**kept, "RUN": self.run}

    def told(self) -> str:
        return "\n".join(file.read_text()[-3000:] for file in sorted(self.folder.glob("*-*.txt")))

    def rows(self, query: str, *arguments: object) -> list[tuple[object, ...]]:
        connection = sqlite3.connect(self.folder / "log.db")
        try:
            return connection.execute(query, arguments).fetchall()
        except sqlite3.OperationalError:
            return []
        finally:
            connection.close()

    def effects(self, service: str) -> list[tuple[str, int]]:
        """Customer and number of each effect, in the order in which they happened."""
        found = self.rows("select customer, what from effects where service = ? order by number", service)
        return [(str(customer), int(str(what))) for customer, what in found]

    def until(self, holds: Callable[[], object], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, f"not within {seconds} s\n{self.told()}"
            assert all(process.poll() in (None, 0) for process in self.started), self.told()
            time.sleep(0.05)

    def set_aside(self) -> Counter[int]:
        """How many are put off (0), behind others (1) and given up (2)."""
        return Counter(int(str(state)) for (state,) in self.rows("select state from antiphon_set_aside"))

    def end(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.wait()


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    street = Street(tmp_path)
    yield street
    street.end()


def stop_in_the_middle(street: Street, broker: str) -> None:
    """Some is unread, some is put off, some is given up, and some waits behind these."""
    publishing = street.start("publish", broker, "0", str(FIRST))
    serving = street.start("serve", broker, street.store)
    street.until(lambda: len(street.effects("billing")) > 100 and len(street.set_aside()) == 3)
    street.stop(serving)
    assert publishing.wait(60) == 0
    assert street.start("publish", broker, str(FIRST), str(FIRST + 20)).wait(60) == 0
    assert len(street.set_aside()) == 3, f"nothing is there to be moved: {street.set_aside()}"


def go_on(street: Street, broker: str) -> None:
    """Publish the rest, send what was given up again, and wait until everything is done."""
    publishing = street.start("publish", broker, str(FIRST + 20), str(ALL))
    serving = street.start("serve-mended", broker, street.store)
    there = ("--broker", broker, "--store", street.store)
    assert publishing.wait(60) == 0
    sent = street.antiphon("dead-letters", "retry", "--all", "--yes", "--unchecked", *there)
    assert sent.returncode == 0, sent.stderr
    try:
        for service, each in (("billing", CUSTOMERS), ("counting", CUSTOMERS), ("shipping", CUSTOMERS), ("visits", 1)):
            street.until(lambda service=service, each=each: len(street.effects(service)) >= each * ALL)
        street.until(lambda: not street.set_aside())
    finally:
        street.stop(serving)


def check_ledger(street: Street) -> None:
    """0 lost, 0 double, per-key order kept."""
    for service in ("billing", "counting", "shipping"):
        effects = street.effects(service)
        assert len(effects) == len(set(effects)), f"{service} did something twice"
        by_customer: dict[str, list[int]] = {}
        for customer, what in effects:
            by_customer.setdefault(customer, []).append(what)
        assert len(by_customer) == CUSTOMERS
        assert all(found == list(range(ALL)) for found in by_customer.values()), f"{service}: {by_customer}"
    assert sorted(what for _, what in street.effects("visits")) == list(range(ALL))


def total(topics: list[dict[str, object]]) -> int:
    return sum(int(str(topic["messages"])) for topic in topics)


def moved(street: Street, source: str, target: str) -> None:
    stop_in_the_middle(street, source)
    planned = street.move(source, target, "--dry-run")
    done = street.move(source, target)
    assert 0 < total(planned) <= total(done), "what was still in the outbox is carried, too"
    assert street.move(source, target) == [], "it was moved already, and nothing is left to be done"
    go_on(street, target)
    check_ledger(street)


def test_services_move_to_postgresql_in_the_middle_of_their_work(street: Street, postgres_url: str) -> None:
    moved(street, street.log, postgres_url)


def test_services_move_back_from_postgresql(street: Street, postgres_url: str) -> None:
    moved(street, postgres_url, street.log)


@pytest.mark.at_length
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["kafka", "nats", "valkey", "rabbitmq", "rabbitmq-streams"])
def test_services_move_to_each_server(street: Street, server_url: Server, kind: str) -> None:
    moved(street, street.log, server_url(kind))


@pytest.mark.at_length
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["kafka", "nats", "valkey", "rabbitmq-streams"])
def test_services_move_back_from_each_log_on_a_server(street: Street, server_url: Server, kind: str) -> None:
    moved(street, server_url(kind), street.log)
