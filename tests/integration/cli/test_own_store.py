"""A service whose store is not the broker's is run, looked into and mended with the command line as any other."""

from __future__ import annotations

import json
import time

import pytest

SERVICE = """
from antiphon import Key, RejectError, Retry, Service, Struct, Transaction, event

@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]
    note: str = ""

@event(topic="payments")
class PaymentTaken(Struct, frozen=True):
    order_id: Key[str]
    note: str

payments = Service("payments", policy=Retry(delayed=0))

@payments.on(OrderPlaced)
async def take(order: OrderPlaced, tx: Transaction) -> PaymentTaken:
    if order.order_id == "bad":
        raise RejectError("no such order")
    return PaymentTaken(order.order_id, order.note * 1000)
"""
SETTINGS = """
broker = "embedded:///.antiphon/log.db?max_message_bytes=2500"
modules = ["payments"]
"""
STORE = 'store = "sqlite:///payments.db"\n'
OF_LOG = ("--store", "sqlite:///.antiphon/log.db")
MAIL = """
from antiphon import Service
from payments import PaymentTaken
mail = Service("mail")

@mail.on(PaymentTaken)
async def send(payment: PaymentTaken) -> None: ...
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "payments.py").write_text(SERVICE)
    (tmp_path / "antiphon.toml").write_text(STORE + SETTINGS)
    return tmp_path


def configure(ask, text):
    (ask.folder / "antiphon.toml").write_text(text)


def told(done):
    assert done.returncode == 0, done.stderr
    return done.stdout


def data(done):
    return json.loads(told(done))


def refused(done, *texts, code=2):
    assert (done.returncode, done.stdout) == (code, ""), (done.stdout, done.stderr)
    for text in texts:
        assert text in done.stderr
    return True


def until(holds):
    deadline = time.monotonic() + 20
    while not (found := holds()):
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)
    return found


def order(ask, id, note="x"):
    return told(ask("publish", "OrderPlaced", f"order_id={id}", f"note={note}"))


def taken(ask):
    """What was published of payments, in order: key and note."""
    lines = ask("tail", "payments", "--from", "start", "--no-follow", "--json").stdout.splitlines()
    return [(sent["key"], sent["data"]["note"]) for sent in map(json.loads, lines)]


def letters(ask, *options):
    return data(ask("dead-letters", "list", "--json", *options))["dead_letters"]


def scheduled(ask, *options):
    return data(ask("scheduled", "list", "--json", *options))["scheduled"]


@pytest.fixture
def running(antiphon):
    antiphon.start("run")
    antiphon.wait_for("running payments")
    return antiphon


def refused_letter(ask):
    """Have one parked that the broker refused, with two of its key behind it; another key flows. Returns its id."""
    for id, note in (("7", "xxx"), ("7", "y"), ("8", "z"), ("7", "v")):
        order(ask, id, note)
    until(lambda: taken(ask))
    (letter,) = until(lambda: letters(ask))
    until(lambda: data(ask("dead-letters", "show", letter["id"], "--json"))["behind"]["messages"] == 2)
    assert taken(ask) == [("8", "z" * 1000)]
    return letter["id"]


def test_it_is_described_with_its_store_and_its_relay(ask):
    (shown,) = data(ask("describe", "--json"))
    assert (shown["store"], shown["has_outbox"]) == (f"sqlite:///{ask.folder}/payments.db", True)
    text = told(ask("describe"))
    assert f"  store   sqlite:///{ask.folder}/payments.db\n" in text
    assert "  relay   publishes what transactions emit, from the outbox of the store\n" in text
    own = told(ask("describe", *OF_LOG))
    assert "  relay " not in own
    assert "  store " not in own
    assert not data(ask("describe", "--json", *OF_LOG))[0]["has_outbox"]


def test_commands_look_where_the_service_keeps_its_tables(running, ask):
    order(ask, "1")
    until(lambda: taken(ask) == [("1", "x" * 1000)])
    order(ask, "bad")
    (letter,) = until(lambda: letters(ask))
    assert (letter["group"], letter["message"]["key"]) == ("payments", "bad")
    assert letters(ask, *OF_LOG) == []
    assert "payments/take" in told(ask("dead-letters", "show", letter["id"]))
    assert data(ask("dead-letters", "retry", letter["id"], "--json"))["without_service"] == []
    until(lambda: "done: 0 of 1 handled" in told(ask("dead-letters", "redrives")))
    assert told(ask("dead-letters", "drop", letter["id"], "--yes")).startswith("dropped 1 dead letter")
    assert [each["id"] for each in data(ask("dead-letters", "dropped", "--json"))] == [letter["id"]]


def test_a_running_group_is_paused_inspected_and_resumed(running, ask):
    order(ask, "1")
    until(lambda: taken(ask))
    assert told(ask("groups", "pause", "payments")) == "group payments is paused on topic orders\n"
    shown = until(lambda: (found := data(ask("groups", "inspect", "payments", "--json")))["processes"] and found)
    assert [each["topic"] for each in shown["paused"]] == ["orders"]
    until(lambda: data(ask("groups", "inspect", "payments", "--json"))["processes"][0]["topics"]["orders"])
    assert data(ask("groups", "inspect", "payments", "--json", *OF_LOG))["paused"] == []
    order(ask, "2")
    told(ask("groups", "resume", "payments", "--handler", "take"))
    until(lambda: [key for key, _ in taken(ask)] == ["1", "2"])


def test_what_is_scheduled_waits_in_the_store_and_is_published_from_there(running, ask):
    sent = data(ask("publish", "OrderPlaced", "order_id=1", "--delay", "1h", "--json"))
    assert [each["id"] for each in scheduled(ask)] == [sent["id"]]
    assert scheduled(ask, *OF_LOG) == []
    assert told(ask("scheduled", "cancel", sent["id"])) == f"canceled {sent['id']}\n"
    told(ask("publish", "OrderPlaced", "order_id=2", "--delay", "200ms"))
    until(lambda: [key for key, _ in taken(ask)] == ["2"])


def test_rerunning_forgets_the_marks_that_are_in_the_store(running, ask):
    order(ask, "1")
    until(lambda: taken(ask))
    running.stop()
    told(ask("groups", "seek", "payments", "--topic", "orders", "--to", "start", "--rerun"))
    running.start("run")
    until(lambda: [key for key, _ in taken(ask)] == ["1", "1"])


def test_what_the_broker_refused_is_mended_and_published_before_what_follows_it(running, ask):
    id = refused_letter(ask)
    listed = told(ask("dead-letters", "list"))
    assert "@outbox/relay  PaymentTaken 7  (1 attempt)" in listed
    assert "to payments, never published" in listed
    assert "  to       payments, never published\n" in told(ask("dead-letters", "show", id))
    assert refused(ask("dead-letters", "edit", id, "--set", "nota=a"), "PaymentTaken has no 'nota' there")
    assert refused(ask("dead-letters", "edit", id, "--data", "{}"), "whoever handles it could not read that")
    assert refused(ask("dead-letters", "edit", id, "--set", "order_id=9"), "order_id is the key of PaymentTaken")
    told(ask("dead-letters", "edit", id, "--set", "note=short"))
    assert " 1 of 1 handled" in told(ask("dead-letters", "retry", id, "--wait"))
    until(lambda: len(taken(ask)) == 4)
    assert taken(ask) == [("8", "z" * 1000), ("7", "short"), ("7", "y" * 1000), ("7", "v" * 1000)]
    assert letters(ask) == []


def test_what_is_refused_again_is_parked_again(running, ask):
    id = refused_letter(ask)
    done = ask("dead-letters", "retry", id, "--wait")
    assert (done.returncode, "1 failed again" in done.stdout) == (1, True)
    assert "(2 attempts, failed again in " in told(ask("dead-letters", "list"))


def test_what_waits_behind_a_refused_one_that_is_dropped_is_published(running, ask):
    id = refused_letter(ask)
    told(ask("dead-letters", "drop", id, "--yes"))
    until(lambda: taken(ask)[1:] == [("7", "y" * 1000), ("7", "v" * 1000)])


def test_where_no_relay_runs_a_retry_says_so_and_it_begins_when_one_does(running, ask):
    id = refused_letter(ask)
    told(ask("dead-letters", "edit", id, "--set", "note=short"))
    running.stop()
    assert "no relay runs: it begins when one starts" in told(ask("dead-letters", "retry", id))
    running.start("run")
    until(lambda: ("7", "short") in taken(ask))


def test_a_refused_one_has_no_handler_to_run_dry_and_is_mended_with_its_event_or_unchecked(running, ask):
    id = refused_letter(ask)
    assert refused(ask("dead-letters", "dry-run", id), "was refused by the broker before any handler saw it")
    (ask.folder / "other.py").write_text("from antiphon import Service\nother = Service('other')\n")
    editing = ("dead-letters", "edit", id, "--set", "note=short", "--module", "other")
    assert refused(ask(*editing), "declare no event 'PaymentTaken' of topic 'payments'", "--module", "--unchecked")
    (ask.folder / "events.py").write_text(SERVICE.partition("payments = Service")[0])
    told(ask(*editing[:-1], "events"))
    told(ask("dead-letters", "edit", id, "--revert"))
    told(ask(*editing, "--unchecked"))
    told(ask("dead-letters", "retry", id, "--module", "other", "--wait"))
    until(lambda: ("7", "short") in taken(ask))


def test_a_store_given_by_hand_is_run_on_and_looked_into(antiphon, ask):
    configure(ask, SETTINGS)
    antiphon.start("run", "--store", "sqlite:///given.db")
    antiphon.wait_for("running payments")
    order(ask, "bad")
    until(lambda: letters(ask, "--store", "sqlite:///given.db"))
    assert letters(ask) == []


def test_a_store_that_is_not_there_is_told_and_not_made(ask):
    order(ask, "1")
    for arguments in (("dead-letters", "list"), ("scheduled", "list"), ("groups", "inspect", "payments")):
        assert refused(ask(*arguments), f"there is no store at {ask.folder}/payments.db", "--store", code=3)
    assert not (ask.folder / "payments.db").exists()


@pytest.mark.parametrize("arguments", [("describe",), ("run",), ("dead-letters", "list"), ("scheduled", "list")])
def test_a_store_that_cannot_be_is_refused(ask, arguments):
    order(ask, "1")
    assert refused(ask(*arguments, "--store", "oracle://host/db"), "no store has the scheme")
    assert refused(ask(*arguments, "--store", "payments.db"), "it must be a URL, as in sqlite:///payments.db")


def test_a_store_is_for_what_is_published_later_only(ask):
    done = ask("publish", "OrderPlaced", "order_id=1", "--store", "sqlite:///a.db")
    assert refused(done, "say when with --at or --delay")
    assert not (ask.folder / ".antiphon").exists()


def test_no_group_can_have_the_name_of_the_outbox(ask):
    configure(ask, SETTINGS + '[services.payments]\ngroup = "@outbox"\n')
    assert refused(ask("describe"), "services.payments.group = '@outbox': it must not begin with '@'")
    (ask.folder / "payments.py").write_text(SERVICE.replace('"payments", policy', '"@outbox", policy'))
    configure(ask, SETTINGS)
    assert refused(ask("describe"), "service name '@outbox'")


def with_mail(ask, settings):
    (ask.folder / "mail.py").write_text(MAIL)
    configure(ask, SETTINGS.replace('["payments"]', '["payments", "mail"]') + settings)


def test_where_services_have_several_stores_one_is_to_be_named(antiphon, ask):
    with_mail(ask, '[services.payments]\nstore = "sqlite:///payments.db"\ngroup = "till"\n')
    antiphon.start("run")
    antiphon.wait_for("running payments")
    order(ask, "bad")
    until(lambda: letters(ask, "--store", "sqlite:///payments.db"))
    several = (
        f"mail in sqlite:///{ask.folder}/.antiphon/log.db, payments in sqlite:///{ask.folder}/payments.db: "
        "say which one with --store URL"
    )
    for arguments in (
        ("dead-letters", "list"),
        ("dead-letters", "list", "--group", "@outbox"),
        ("dead-letters", "retry", "--all"),
        ("scheduled", "list"),
        ("publish", "OrderPlaced", "order_id=1", "--delay", "1h"),
    ):
        assert refused(ask(*arguments), several)
    assert len(letters(ask, "--group", "till")) == 1
    assert letters(ask, "--group", "mail") == []
    until(lambda: data(ask("groups", "inspect", "till", "--json"))["processes"])
    assert data(ask("groups", "inspect", "till", "--json"))["set_aside"]["parked"] == 1
    assert data(ask("groups", "inspect", "mail", "--json"))["set_aside"]["parked"] == 0


def test_a_store_that_all_services_share_needs_no_name(antiphon, ask):
    shared = "".join(f'[services.{name}]\nstore = "sqlite:///shared.db"\n' for name in ("payments", "mail"))
    with_mail(ask, shared)
    antiphon.start("run")
    antiphon.wait_for("running payments")
    order(ask, "bad")
    assert until(lambda: letters(ask))
