"""The command line with the log in PostgreSQL, where the services' tables are, too."""

import json
import time


def lines(done):
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_events_are_published_handled_parked_and_seen(antiphon, postgres_url):
    there = ("--broker", postgres_url)
    (sent,) = lines(antiphon("publish", "OrderPlaced", "order_id=7", "total=12.50", "--json", *there))
    antiphon("publish", "OrderPlaced", "order_id=bad", "total=1", *there)
    antiphon.start("run", *there)
    antiphon.wait_for("running payments")
    assert "effectively_once" in antiphon.wait_for("guarantee", file="out")
    payment = handled(antiphon, there)
    assert (payment["key"], payment["causation_id"]) == ("7", sent["id"])
    until(antiphon, ("dead-letters", "list", "--json", *there), "no such order")
    topics = {topic["name"]: topic for topic in lines(antiphon("topics", "--json", *there))[0]}
    assert (topics["orders"]["partitions"], topics["orders"]["messages"]) == (4, 2)
    assert "payments" in antiphon("groups", *there).stdout


def handled(ask, there):
    """The first payment, once it is out."""
    return json.loads(until(ask, ("tail", "payments", "--no-follow", "--json", *there), "{").splitlines()[0])


def until(ask, command, text):
    """What the command says, once it says `text`."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = ask(*command)
        if found.returncode == 0 and text in found.stdout:
            return found.stdout
        time.sleep(0.1)
    raise AssertionError(f"{found.stdout} {found.stderr}")
