"""What is scheduled from the command line is listed, taken back, or published by whoever runs then."""

from __future__ import annotations

import json
import time

import pytest

ORDER = ("OrderPlaced", "order_id=7", "total=12.50")


def lines(done):
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def refused(done, code, *told):
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    for text in told:
        assert text in done.stderr
    return True


def listed(ask, *options):
    return lines(ask("scheduled", "list", "--json", *options))[0]["scheduled"]


def test_what_is_scheduled_is_listed_with_its_moment_and_its_message(ask):
    done = ask("publish", *ORDER, "--at", "2199-01-31T12:00", "--deadline", "1h30m")
    assert done.stdout.startswith("scheduled OrderPlaced ")
    assert done.stdout.endswith(" to orders with key 7 at 2199-01-31T12:00:00+00:00\n")
    (one,) = listed(ask)
    assert (one["at"], one["topic"], one["key"]) == ("2199-01-31T12:00:00Z", "orders", "7")
    assert (one["state"], one["failure"], one["service"]) == ("waiting", None, "antiphon-cli")
    assert one["message"]["data"] == {"order_id": "7", "total": "12.50"}
    assert one["message"]["deadline"] == "2199-01-31T13:30:00Z"
    assert one["id"] in done.stdout
    shown = f"2199-01-31 12:00:00Z  antiphon-cli  OrderPlaced 7 to orders\n    message {one['id']}\n"
    assert ask("scheduled", "list").stdout == shown


@pytest.mark.parametrize("options", [["--at", "2020-01-31T12:00Z"], ["--delay", "0s"]])
def test_what_is_due_already_is_published_at_once_and_said_to_be(ask, options):
    done = ask("publish", *ORDER, *options, "--deadline", "1h")
    assert done.stdout.startswith("published OrderPlaced ")
    assert done.stdout.endswith(" to orders with key 7 at once: it is due already\n")
    assert listed(ask) == []
    (sent,) = lines(ask("tail", "orders", "--no-follow"))
    assert sent["deadline"] > sent["time"]
    assert "at" not in lines(ask("publish", *ORDER, *options, "--json"))[0]


def test_the_list_is_bounded_and_can_be_narrowed(ask):
    ids = [lines(ask("publish", *ORDER, "--delay", f"{hours}h", "--json"))[0]["id"] for hours in (3, 1, 2)]
    assert [one["id"] for one in listed(ask)] == [ids[1], ids[2], ids[0]]
    done = ask("scheduled", "list", "--limit", "2")
    assert "1 more; show them with --limit 3" in done.stdout
    assert listed(ask, "--topic", "payments") == listed(ask, "--service", "payments") == []
    assert len(listed(ask, "--topic", "orders", "--service", "antiphon-cli")) == 3


def test_what_is_canceled_is_gone(ask):
    (sent,) = lines(ask("publish", *ORDER, "--delay", "1h", "--json"))
    assert ask("scheduled", "cancel", sent["id"]).stdout == f"canceled {sent['id']}\n"
    assert ask("scheduled", "list").stdout == "nothing is scheduled\n"
    assert [topic["messages"] for topic in lines(ask("topics", "--json"))[0]] == [0]


def test_the_beginning_of_an_id_is_enough_where_only_one_begins_so(ask):
    first, second = (lines(ask("publish", *ORDER, "--delay", "1h", "--json"))[0]["id"] for _ in range(2))
    most = next(length for length in range(37) if first[:length] != second[:length])
    told = f"'{first[:8]}' begins several scheduled messages, as {first} and {second}: give more of it"
    assert refused(ask("scheduled", "cancel", first[:8]), 2, told, "nothing was canceled")
    assert ask("scheduled", "cancel", first[:most], first).stdout == f"canceled {first}\n"
    assert lines(ask("scheduled", "cancel", second[:8], "--json")) == [{"canceled": [second]}]


def test_an_unknown_id_is_refused_and_nothing_is_canceled(ask):
    (sent,) = lines(ask("publish", *ORDER, "--delay", "1h", "--json"))
    told = "no message nobodys is scheduled: it was published, canceled, or never scheduled; nothing was canceled"
    assert refused(ask("scheduled", "cancel", sent["id"], "nobodys"), 2, told)
    assert [one["id"] for one in listed(ask)] == [sent["id"]]
    assert lines(ask("scheduled", "cancel", sent["id"], sent["id"], "--json")) == [{"canceled": [sent["id"]]}]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--at", "noon"], "error: --at noon: say a time as in 2026-01-31T12:00Z\n"),
        (["--delay", "5"], "error: --delay 5: say a duration as in 5m or 1h30m\n"),
        (["--delay", "-5m"], "error: --delay -5m: say a duration as in 5m or 1h30m\n"),
        (
            ["--at", "2199-01-31T12:00Z", "--delay", "5m"],
            "--at 2199-01-31T12:00Z and --delay 5m both say when; give one of them",
        ),
        (["--deadline", "soon"], "--deadline soon: say a duration as in 5m or 1h30m"),
        (["--deadline", "0s"], "it is over when the event is published"),
    ],
)
def test_a_time_that_cannot_be_is_refused_before_anything_is_made(ask, options, told):
    assert refused(ask("publish", *ORDER, *options), 2, told)
    assert not (ask.folder / ".antiphon").exists()


def test_looking_for_what_is_scheduled_makes_no_log(ask):
    for command in (["list"], ["cancel", "any"]):
        assert refused(ask("scheduled", *command), 3, "there is no log at")


def test_what_is_due_is_published_by_a_service_that_runs(antiphon):
    antiphon.start("run")
    antiphon.wait_for("running payments")
    (sent,) = lines(antiphon("publish", *ORDER, "--delay", "300ms", "--json"))
    deadline = time.monotonic() + 20
    while not (found := antiphon("tail", "payments", "--no-follow").stdout) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert json.loads(found)["causation_id"] == sent["id"]
    assert antiphon("scheduled", "list").stdout == "nothing is scheduled\n"
