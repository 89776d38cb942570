"""Running groups are paused, resumed and looked into from another process, and keep their partitions meanwhile."""

from __future__ import annotations

import json
import time


def inspected(antiphon):
    done = antiphon("groups", "inspect", "payments", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def until(holds):
    deadline = time.monotonic() + 20
    while not (found := holds()):
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)
    return found


def lag(antiphon):
    return sum(each["lag"] for each in json.loads(antiphon("groups", "--json").stdout) if each["topic"] == "orders")


def owners(antiphon):
    return {each["owner"] for each in json.loads(antiphon("groups", "--json").stdout)}


def state(antiphon):
    """How the only process says that its topic is, once it has said anything."""
    processes = inspected(antiphon)["processes"]
    return processes[0]["topics"]["orders"]["state"] if processes else None


def test_a_paused_group_keeps_its_partitions_and_goes_on_where_it_stopped(antiphon):
    antiphon.start("run")
    antiphon.wait_for("running payments")
    antiphon("publish", "OrderPlaced", "order_id=o-1", "total=1.00")
    until(lambda: lag(antiphon) == 0)
    members = owners(antiphon)
    done = antiphon("groups", "pause", "payments", "--reason", "stocktaking")
    assert done.stdout == "payments pauses orders\n"
    until(lambda: state(antiphon) == "paused")
    antiphon("publish", "OrderPlaced", "order_id=o-2", "total=1.00")
    time.sleep(1.0)  # long enough for it to be handled, were it not for the pause
    assert lag(antiphon) == 1
    assert owners(antiphon) == members
    (pause,) = inspected(antiphon)["paused"]
    assert (pause["topic"], pause["reason"]) == ("orders", "stocktaking")
    assert antiphon("groups", "resume", "payments", "--handler", "authorise").stdout == "payments goes on with orders\n"
    until(lambda: lag(antiphon) == 0)
    until(lambda: state(antiphon) == "flows")


def test_a_pause_holds_across_a_restart(antiphon):
    antiphon.start("run")
    antiphon.wait_for("running payments")
    antiphon("groups", "pause", "payments", "--topic", "orders")
    antiphon.stop()
    antiphon("publish", "OrderPlaced", "order_id=o-1", "total=1.00")
    antiphon.start("run")
    antiphon.wait_for("running payments")
    until(lambda: state(antiphon) == "paused")
    assert lag(antiphon) == 1


def test_inspect_tells_people_what_each_process_is_at(antiphon):
    process = antiphon.start("run")
    antiphon.wait_for("running payments")
    until(lambda: state(antiphon) == "flows")
    shown = antiphon("groups", "inspect", "payments").stdout
    assert shown.startswith("payments  (set aside: 0 delayed, 0 behind, 0 parked)\n")
    assert f"process  {process.pid} on " in shown
    assert "orders: flows  (authorise)" in shown
    process.kill()
    process.wait()
    assert "died without a word" in antiphon("groups", "inspect", "payments").stdout


def test_names_that_are_not_there_change_nothing_and_are_told(antiphon):
    antiphon.start("run")
    antiphon.wait_for("running payments")
    until(lambda: state(antiphon))
    for arguments, told in (
        (("pause", "paymnts"), "there is no group 'paymnts'; there are payments"),
        (("pause", "payments", "--topic", "order"), "does not read 'order'; it reads orders"),
        (("resume", "payments", "--handler", "authorize"), "runs no handler 'authorize'; it runs authorise"),
        (("inspect", "paymnts"), "there is no group 'paymnts'"),
    ):
        done = antiphon("groups", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert told in done.stderr
    assert antiphon("groups", "resume", "payments").stdout.startswith("payments goes on with nothing")
    assert inspected(antiphon)["paused"] == []
