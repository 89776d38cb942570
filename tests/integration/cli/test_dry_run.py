"""A dead letter is run dry against the present handler: it says what it would do, and nothing of it stays."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from datetime import UTC, datetime

import pytest

from antiphon.brokers.connect import connect
from antiphon.events.ids import new_id
from antiphon.events.message import Message
from antiphon.storage.dead_letters import DeadLetter, park
from antiphon.storage.set_aside import Attempt

TABLE = "create table ledger (order_id text);"
SERVICE = """
import asyncio
from datetime import timedelta
from pathlib import Path
from antiphon import Publisher, Service, Transaction
from antiphon.resilience import AT_ONCE
from payments.events import OrderPlaced, PaymentAuthorised

payments = Service("payments", migrations="migrations", policy=AT_ONCE)

class Bank:
    def charge(self, amount) -> str:
        Path("charged").write_text(str(amount))
        return "receipt"

@payments.provides
def bank() -> Bank:
    return Bank()

@payments.on(OrderPlaced, publishes=(PaymentAuthorised,))
async def authorise(order: OrderPlaced, tx: Transaction, bank: Bank, publisher: Publisher) -> PaymentAuthorised:
    await tx.execute("insert into ledger (order_id) values (?)", order.order_id)
    found = await tx.fetch("select order_id from ledger")
    receipt = bank.charge(order.total)
    if BROKEN:
        raise ValueError("no such order")
    await publisher.publish(PaymentAuthorised(receipt), delay=timedelta(hours=1))
    return PaymentAuthorised(order.order_id)
"""
FAKES = """
class FakeBank:
    def charge(self, amount) -> str:
        return f"fake {amount}"

bank = FakeBank()
"""


@pytest.fixture
def parked(ask, project):
    """The id of a dead letter, parked by a handler that has been mended since."""
    (project / "payments" / "migrations").mkdir()
    (project / "payments" / "migrations" / "0001_make_ledger.sql").write_text(TABLE)
    (project / "fakes.py").write_text(FAKES)
    mend(project)
    now = datetime.now(UTC)
    message = Message(new_id(), "OrderPlaced", now, b'{"order_id":"o-1","total":"9.50"}', "o-1", source="shop")
    letter = DeadLetter(
        message=message,
        topic="orders",
        partition=0,
        position="1",
        service="payments",
        handler="authorise",
        attempts=(Attempt(now, "ValueError", "no such order"),),
        reason="ValueError",
        code_version="7",
        parked_at=now,
    )

    async def plant():
        broker = connect(f"embedded:///{project / '.antiphon' / 'log.db'}")
        await broker.open()
        async with broker.database.transaction() as tx:
            await tx.execute(TABLE)
            await park(tx, [letter])
        await broker.close()

    asyncio.run(plant())
    return letter.id


def mend(project, *, broken=False):
    (project / "payments" / "service.py").write_text(SERVICE.replace("BROKEN", str(broken)))


def tables(project):
    with sqlite3.connect(project / ".antiphon" / "log.db") as db:
        return [db.execute(f"select count(*) from {name}").fetchone()[0] for name in ("ledger", "antiphon_scheduled")]


def test_it_says_what_the_present_handler_would_do_and_keeps_nothing(ask, project, parked):
    done = ask("dead-letters", "dry-run", parked, "--replace", "Bank=fakes:bank", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["handler"], told["error"], told["replaced"], told["called"]) == ("authorise", None, ["Bank"], [])
    assert [(each["sql"], each["args"], each["rows"]) for each in told["statements"]] == [
        ("insert into ledger (order_id) values (?)", ["o-1"], None),
        ("select order_id from ledger", [], 1),
    ]
    assert [(each["topic"], each["data"]) for each in told["emits"]] == [("payments", {"order_id": "o-1"})]
    assert [each["data"] for each in told["schedules"]] == [{"order_id": "fake 9.50"}]
    assert tables(project) == [0, 0]
    assert not (project / "charged").exists()
    assert not [each for each in json.loads(ask("topics", "--json").stdout) if each["messages"]]
    assert len(json.loads(ask("dead-letters", "list", "--json").stdout)["dead_letters"]) == 1


def test_for_people_it_is_a_few_lines(ask, parked):
    done = ask("dead-letters", "dry-run", parked, "--replace", "Bank=fakes:bank")
    assert "would succeed" in done.stdout
    assert "insert into ledger (order_id) values (?)  ['o-1']" in done.stdout
    assert "replaced: Bank" in done.stdout
    assert done.stdout.endswith("nothing of it was kept\n")


def test_it_is_refused_while_something_would_really_be_called(ask, project, parked):
    done = ask("dead-letters", "dry-run", parked)
    assert done.returncode == 2
    assert "authorise would call Bank for real" in done.stderr
    assert "--allow" in done.stderr
    assert not (project / "charged").exists()


def test_what_would_not_be_called_cannot_be_allowed(ask, project, parked):
    done = ask("dead-letters", "dry-run", parked, "--allow", "Bnk")
    assert done.returncode == 2
    assert "--allow Bnk: nothing of that name would be called; what would be is Bank" in done.stderr


def test_what_is_allowed_by_name_is_called(ask, project, parked):
    done = ask("dead-letters", "dry-run", parked, "--allow", "Bank")
    assert done.returncode == 0, done.stderr
    assert "really called: Bank" in done.stdout
    assert (project / "charged").read_text() == "9.50"
    assert tables(project) == [0, 0]


def test_a_handler_that_still_fails_says_how(ask, project, parked):
    mend(project, broken=True)
    done = ask("dead-letters", "dry-run", parked, "--replace", "Bank=fakes:bank")
    assert done.returncode == 1
    assert "would fail with ValueError: no such order" in done.stdout


def test_an_edited_letter_is_run_as_edited(ask, parked):
    assert ask("dead-letters", "edit", parked, "--set", "total=8.00").returncode == 0
    told = json.loads(ask("dead-letters", "dry-run", parked, "--replace", "Bank=fakes:bank", "--json").stdout)
    assert told["schedules"][0]["data"] == {"order_id": "fake 8.00"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nothere1",), "nothere1"),
        (("ID", "--replace", "Shop=fakes:bank"), "provides no 'Shop'; it provides Bank"),
        (("ID", "--replace", "Bank=fakes"), "TYPE=MODULE:NAME"),
        (("ID", "--replace", "Bank=fakes:none"), "none"),
        (("ID", "--module", "fakes"), "fakes has no Service"),
    ],
)
def test_what_cannot_be_run_is_refused_with_a_reason(ask, parked, arguments, told):
    done = ask("dead-letters", "dry-run", *[parked if each == "ID" else each for each in arguments])
    assert done.returncode == 2, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_letter_whose_handler_is_gone_is_refused(ask, project, parked):
    gone = SERVICE.partition("@payments.on")[0].replace("BROKEN", "False")
    (project / "payments" / "service.py").write_text(gone)
    done = ask("dead-letters", "dry-run", parked)
    assert done.returncode == 2
    assert "no handler for 'OrderPlaced'" in done.stderr
