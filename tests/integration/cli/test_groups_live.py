"""Running groups are paused, resumed and looked into from another process, and keep their partitions meanwhile."""

from __future__ import annotations

import json
import time


def inspected(ask):
    done = ask("groups", "inspect", "payments", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def until(holds):
    deadline = time.monotonic() + 20
    while not (found := holds()):
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)
    return found


def lag(ask):
    return sum(each["lag"] for each in json.loads(ask("groups", "--json").stdout) if each["topic"] == "orders")


def owners(ask):
    return {each["owner"] for each in json.loads(ask("groups", "--json").stdout)}


def state(ask):
    """How the only process says that its topic is, once it has said anything."""
    processes = inspected(ask)["processes"]
    return processes[0]["topics"]["orders"]["state"] if processes else None


def test_a_paused_group_keeps_its_partitions_and_goes_on_where_it_stopped(antiphon, ask):
    antiphon.start("run")
    antiphon.wait_for("running payments")
    ask("publish", "OrderPlaced", "order_id=o-1", "total=1.00")
    until(lambda: lag(ask) == 0)
    members = owners(ask)
    done = ask("groups", "pause", "payments", "--reason", "stocktaking")
    assert done.stdout == "group payments is paused on topic orders\n"
    until(lambda: state(ask) == "paused")
    ask("publish", "OrderPlaced", "order_id=o-2", "total=1.00")
    time.sleep(1.0)  # long enough for it to be handled, were it not for the pause
    assert lag(ask) == 1
    assert owners(ask) == members
    (pause,) = inspected(ask)["paused"]
    assert (pause["topic"], pause["reason"]) == ("orders", "stocktaking")
    resumed = ask("groups", "resume", "payments", "--handler", "authorise")
    assert resumed.stdout == "group payments goes on with topic orders\n"
    until(lambda: lag(ask) == 0)
    until(lambda: state(ask) == "flows")


def test_a_pause_holds_across_a_restart(antiphon, ask):
    antiphon.start("run")
    antiphon.wait_for("running payments")
    ask("groups", "pause", "payments", "--topic", "orders")
    antiphon.stop()
    ask("publish", "OrderPlaced", "order_id=o-1", "total=1.00")
    antiphon.start("run")
    antiphon.wait_for("running payments")
    until(lambda: state(ask) == "paused")
    assert lag(ask) == 1


def test_inspect_tells_people_what_each_process_is_at(antiphon, ask):
    process = antiphon.start("run")
    antiphon.wait_for("running payments")
    until(lambda: state(ask) == "flows")
    shown = ask("groups", "inspect", "payments").stdout
    assert shown.startswith("payments  (set aside: 0 delayed, 0 behind, 0 parked)\n")
    assert f"process  {process.pid} on " in shown
    assert "orders: flows  (authorise)" in shown
    process.kill()
    process.wait()
    assert "died without a word" in ask("groups", "inspect", "payments").stdout


def test_names_that_are_not_there_change_nothing_and_are_told(antiphon, ask):
    antiphon.start("run")
    antiphon.wait_for("running payments")
    until(lambda: state(ask))
    for arguments, told in (
        (("pause", "paymnts"), "there is no group 'paymnts'; there are payments"),
        (("pause", "payments", "--topic", "order"), "does not read 'order'; it reads orders"),
        (("resume", "payments", "--handler", "authorize"), "runs no handler 'authorize'; it runs authorise"),
        (("inspect", "paymnts"), "there is no group 'paymnts'"),
    ):
        done = ask("groups", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert told in done.stderr
    assert inspected(ask)["paused"] == []


def test_pausing_twice_and_resuming_what_runs_are_told_as_what_they_are(antiphon, ask):
    antiphon.start("run")
    antiphon.wait_for("running payments")
    told = "group payments was not paused on topic orders, so nothing changed there\n"
    assert ask("groups", "resume", "payments").stdout == told
    assert ask("groups", "resume", "payments", "--topic", "orders").stdout == told
    assert ask("groups", "pause", "payments").stdout == "group payments is paused on topic orders\n"
    again = ask("groups", "pause", "payments", "--reason", "stocktaking")
    assert again.stdout == "group payments was paused already on topic orders; the reason is now 'stocktaking'\n"
    kept = ask("groups", "pause", "payments")
    assert kept.stdout == "group payments was paused already on topic orders; nothing changed there\n"
    assert [each["reason"] for each in inspected(ask)["paused"]] == ["stocktaking"]
    as_json = ask("groups", "pause", "payments", "--reason", "the bank", "--json")
    assert json.loads(as_json.stdout) == {"group": "payments", "topics": ["orders"], "already": ["orders"]}
    assert [each["reason"] for each in inspected(ask)["paused"]] == ["the bank"]
    assert json.loads(ask("groups", "resume", "payments", "--json").stdout)["topics"] == ["orders"]
    assert json.loads(ask("groups", "resume", "payments", "--json").stdout)["topics"] == []
