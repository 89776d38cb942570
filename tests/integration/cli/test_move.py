"""`antiphon move` as a person uses it: what it would do, what it does, and what it refuses."""

import json


def prepared(ask, antiphon):
    """A log that `payments` reads, stopped, with two orders that it has not read."""
    ask("publish", "OrderPlaced", "order_id=1", "total=1")
    running = antiphon.start("run")
    antiphon.wait_for("running payments")
    until_read(ask)
    antiphon.stop()
    assert running.returncode == 0
    for number in (2, 3):
        ask("publish", "OrderPlaced", f"order_id={number}", "total=1")


def until_read(ask):
    for _ in range(200):
        if sum(each["lag"] for each in listed(ask, "groups")) == 0:
            return
    raise AssertionError("it is not read")


def listed(ask, *command):
    return json.loads(ask(*command, "--json").stdout)


def move(ask, *more, to="embedded:///new.db"):
    return ask("move", "--from", "embedded:///.antiphon/log.db", "--to", to, "--watch", "0s", *more)


def test_what_is_unread_goes_to_the_other_broker_and_the_group_with_it(ask, antiphon):
    prepared(ask, antiphon)
    planned = move(ask, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "nothing was moved" in planned.stdout
    orders = next(each for each in listed(ask, "topics") if each["name"] == "orders")
    done = move(ask, "--json")
    assert done.returncode == 0, done.stderr
    told = {each["topic"]: each for each in json.loads(done.stdout)}
    assert told["orders"] == {
        "topic": "orders", "partitions": orders["partitions"], "messages": 2, "unread": {"payments": 2},
    }  # fmt: skip
    there = ("--broker", "embedded:///new.db")
    found = next(each for each in listed(ask, "topics", *there) if each["name"] == "orders")
    assert (found["partitions"], found["messages"]) == (orders["partitions"], 2)
    assert sum(each["lag"] for each in listed(ask, "groups", *there)) == 2
    assert sum(each["lag"] for each in listed(ask, "groups")) == 0


def test_a_dry_run_makes_nothing_at_the_other_broker(ask, antiphon, project):
    ask("publish", "OrderPlaced", "order_id=1", "total=1")
    before = sorted(project.rglob("new*"))
    planned = move(ask, "--dry-run", "--json")
    assert planned.returncode == 0, planned.stderr
    assert [each["topic"] for each in json.loads(planned.stdout)] == [each["name"] for each in listed(ask, "topics")]
    assert sorted(project.rglob("new*")) == before
    assert not (project / "antiphon-move.json").exists()


def test_a_dry_run_makes_no_tables_in_a_database(ask, antiphon, postgres_url):
    ask("publish", "OrderPlaced", "order_id=1", "total=1")
    planned = move(ask, "--dry-run", to=postgres_url)
    assert planned.returncode == 0, planned.stderr
    assert "nothing was moved" in planned.stdout
    there = ask("topics", "--broker", postgres_url)
    assert "there is nothing of Antiphon in" in there.stderr


def test_a_dry_run_refuses_a_message_that_is_too_large_for_a_broker_that_is_not_there_yet(ask, antiphon, project):
    ask("publish", "OrderPlaced", "order_id=1", "total=1")
    refused = move(ask, "--dry-run", "--all", to="embedded:///new.db?max_message_bytes=4")
    assert refused.returncode == 2
    assert "holds a message of" in refused.stderr
    assert not (project / "new.db").exists()


def test_a_second_run_has_nothing_to_do_and_later_ones_carry_what_came_since(ask, antiphon):
    prepared(ask, antiphon)
    assert move(ask).returncode == 0
    assert json.loads(move(ask, "--json").stdout) == []
    ask("publish", "OrderPlaced", "order_id=late", "total=1")
    assert [each["messages"] for each in json.loads(move(ask, "--json").stdout) if each["topic"] == "orders"] == [1]
    assert sum(each["lag"] for each in listed(ask, "groups", "--broker", "embedded:///new.db")) == 3


def test_running_services_are_refused(ask, antiphon):
    ask("publish", "OrderPlaced", "order_id=1", "total=1")
    antiphon.start("run")
    antiphon.wait_for("running payments")
    until_read(ask)
    refused = move(ask)
    assert refused.returncode == 2
    assert "of group 'payments': stop the services with SIGTERM" in refused.stderr


def test_a_killed_process_is_no_member(ask, antiphon):
    ask("publish", "OrderPlaced", "order_id=1", "total=1")
    running = antiphon.start("run")
    antiphon.wait_for("running payments")
    until_read(ask)
    running.kill()
    running.wait()
    assert {each["owner"] for each in listed(ask, "groups")} == {None}
    assert move(ask).returncode == 0


def test_wrong_names_are_refused_before_anything_is_done(ask, antiphon, project):
    ask("publish", "OrderPlaced", "order_id=1", "total=1")
    for more, told in (
        (("--topic", "order"), "topic 'order' does not exist"),
        (("--watch", "soon"), "--watch soon: say a duration"),
        (("--store", "sqlite:///nothing.db"), "there is no store at"),
    ):
        refused = move(ask, *more)
        assert refused.returncode == 2, refused.stderr
        assert told in refused.stderr
    refused = move(ask, to="embedded:///.antiphon/log.db")
    assert "cannot be moved to itself" in refused.stderr
    refused = move(ask, to="memory://")
    assert "it keeps nothing, or knows no groups" in refused.stderr
    assert not (project / "antiphon-move.json").exists()
