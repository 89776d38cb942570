"""From an empty folder to handled events, with nothing but the command line."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen


def lines(done):
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def handled(ask, count):
    """Wait until so many payments are out."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = ask("tail", "payments", "--no-follow")
        if found.returncode == 0 and len(found.stdout.splitlines()) >= count:
            return lines(found)
        time.sleep(0.1)
    raise AssertionError(f"{count} payments were not seen: {found.stdout} {found.stderr}")


def test_a_published_event_is_handled_and_what_it_caused_can_be_seen(antiphon):
    sent = lines(antiphon("publish", "OrderPlaced", "order_id=7", "total=12.50", "--json"))[0]
    assert (sent["topic"], sent["key"]) == ("orders", "7")
    antiphon.start("run")
    antiphon.wait_for("running payments")
    (payment,) = handled(antiphon, 1)
    assert payment["type"] == "PaymentAuthorised"
    assert payment["causation_id"] == sent["id"]
    summary = antiphon.wait_for("guarantee", file="out")
    assert "effectively_once" in summary
    assert str(antiphon.folder / ".antiphon" / "log.db") in summary
    topics = {topic["name"]: topic for topic in lines(antiphon("topics", "--json"))[0]}
    assert (topics["orders"]["partitions"], topics["orders"]["messages"]) == (4, 1)
    assert topics["payments"]["partitions"] == 8


def test_describe_prints_what_the_start_prints_and_starts_nothing(antiphon, ask):
    described = ask("describe")
    assert described.returncode == 0
    assert not (antiphon.folder / ".antiphon").exists()
    antiphon.start("run")
    antiphon.wait_for("running payments")
    assert antiphon.wait_for("written at", file="out").strip() == described.stdout.strip()


def test_the_flow_is_drawn_as_boxes_as_mermaid_and_as_data(ask):
    assert "│ OrderPlaced ─▶ authorise ─▶ PaymentAuthorised │" in ask("describe", "--flow").stdout
    assert 'outside -->|"OrderPlaced"| payments__authorise' in ask("describe", "--mermaid").stdout
    data = lines(ask("describe", "payments.service:payments", "--flow", "--json"))[0]
    assert [edge["event"] for edge in data["edges"]] == ["PaymentAuthorised", "OrderPlaced"]


def test_a_message_that_keeps_failing_is_listed_as_a_dead_letter_with_its_reason(antiphon, ask):
    (bad,) = lines(ask("publish", "OrderPlaced", "order_id=bad", "total=1", "--json"))
    ask("publish", "OrderPlaced", "order_id=7", "total=1")
    antiphon.start("run")
    antiphon.wait_for("running payments")
    handled(ask, 1)
    written = antiphon.wait_for("parked after 4 attempts")
    (parked,) = [json.loads(line) for line in written.splitlines() if "parked after" in line]
    assert parked["message_id"] == bad["id"]
    listed = lines(ask("dead-letters", "list", "--json"))[0]
    (letter,) = listed["dead_letters"]
    assert (listed["total"], letter["handler"], len(letter["attempts"])) == (1, "authorise", 4)
    assert letter["message"]["data"]["order_id"] == "bad"
    assert "ValueError: no such order" in ask("dead-letters", "list", "--group", "payments").stdout
    assert ask("dead-letters", "list", "--group", "orders").stdout == "no dead letters\n"


def test_a_group_moved_back_runs_again_or_leaves_out_what_it_handled_as_it_was_told(antiphon, ask):
    ask("publish", "OrderPlaced", "order_id=7", "total=1")
    service = antiphon.start("run")
    antiphon.wait_for("running payments")
    handled(ask, 1)
    service.send_signal(signal.SIGINT)
    assert service.wait(20) == 0
    assert sum(lag["lag"] for lag in lines(ask("groups", "--json"))[0]) == 0

    back = ("groups", "seek", "payments", "--topic", "orders", "--to", "start")
    unsaid = ask(*back)
    assert unsaid.returncode == 2
    assert "say --rerun" in unsaid.stderr
    assert ask(*back, "--unhandled-only").returncode == 0
    assert sum(lag["lag"] for lag in lines(ask("groups", "--json"))[0]) == 1
    assert ask(*back, "--rerun").returncode == 0
    service = antiphon.start("run")
    antiphon.wait_for("running payments")
    first, second = handled(ask, 2)
    assert first["id"] == second["id"]


def test_on_a_terminal_it_asks_whether_to_handle_again(antiphon, ask):
    ask("publish", "OrderPlaced", "order_id=7", "total=1")
    antiphon.start("run")
    antiphon.wait_for("running payments")
    handled(ask, 1)
    terminal, slave = os.openpty()
    command = [sys.executable, "-m", "antiphon", "groups", "seek", "payments", "--topic", "orders", "--to", "start"]
    with subprocess.Popen(
        command, cwd=antiphon.folder, stdin=slave, stderr=slave, stdout=subprocess.PIPE, text=True
    ) as asking:
        os.write(terminal, b"y\n")
        told, _ = asking.communicate(timeout=20)
    question = os.read(terminal, 1000).decode()
    os.close(slave)
    os.close(terminal)
    assert "Handle again what payments has handled already" in question
    assert told == "payments goes on from start of orders; what it handled before is handled again\n"
    handled(ask, 2)


def test_a_group_or_topic_that_is_not_there_is_named_and_nothing_is_moved(antiphon, ask):
    ask("publish", "OrderPlaced", "order_id=7", "total=1")
    antiphon.start("run")
    antiphon.wait_for("running payments")
    handled(ask, 1)
    wrong = ask("groups", "seek", "payment", "--topic", "orders", "--to", "start", "--rerun")
    assert (wrong.returncode, "there is no group 'payment'; there are payments" in wrong.stderr) == (2, True)
    wrong = ask("groups", "seek", "payments", "--topic", "order", "--to", "start", "--rerun")
    assert (wrong.returncode, "does not read 'order'; it reads orders" in wrong.stderr) == (2, True)


def test_workers_share_the_partitions_and_one_that_is_killed_comes_back(antiphon, ask):
    supervisor = antiphon.start("run", "--workers", "2")
    antiphon.wait_for("running payments")
    _wait(lambda: len(owners(ask)) == 2, "two members share the partitions")
    victim = _children(supervisor)[0]
    os.kill(victim, signal.SIGKILL)
    antiphon.wait_for("a worker ended with code -9")
    _wait(lambda: len(_children(supervisor)) == 2 and victim not in _children(supervisor), "the worker came back")
    children = _children(supervisor)
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(20) == 0
    assert not any(_is_running(child) for child in children)


def owners(ask):
    return {lag["owner"] for lag in lines(ask("groups", "--json"))[0]}


def test_workers_drain_when_their_supervisor_is_killed(antiphon):
    supervisor = antiphon.start("run", "--workers", "2")
    antiphon.wait_for("running payments")
    _wait(lambda: len(_children(supervisor)) == 2, "two workers")
    children = _children(supervisor)
    supervisor.kill()
    supervisor.wait()
    _wait(lambda: not any(_is_running(child) for child in children), "the workers are gone")


def test_a_changed_file_starts_the_services_again_even_after_a_mistake(antiphon):
    antiphon.start("run", "--reload")
    antiphon.wait_for("running payments")
    service = antiphon.folder / "payments" / "service.py"
    right = service.read_text()
    service.write_text(right + "\ndef broken(:\n")
    antiphon.wait_for("cannot be imported")
    service.write_text(right + "\nprint('second version')\n")
    antiphon.wait_for("second version", file="out")


def test_liveness_readiness_and_metrics_are_answered_within_the_limits_that_were_set(antiphon):
    settings = antiphon.folder / "antiphon.toml"
    settings.write_text(settings.read_text() + '[services.payments]\nstall_after = "7s"\n')
    antiphon.start("run", "--health", "0")
    port = int(antiphon.wait_for("probes on port ").partition("probes on port ")[2].split('"')[0])
    antiphon.wait_for("running payments")
    ready = json.loads(read(port, "ready"))
    assert (ready["ok"], {part["limit_seconds"] for part in ready["parts"]}) == (True, {7.0})
    assert json.loads(read(port, "live"))["status"] == "alive"
    assert b"antiphon_transaction_commits_total" in read(port, "metrics")


def read(port, page):
    with urlopen(f"http://127.0.0.1:{port}/{page}") as answer:
        return answer.read()


def test_a_tail_that_is_cut_off_ends_quietly(antiphon, ask):
    ask("publish", "OrderPlaced", "order_id=1", "total=1")
    command = [sys.executable, "-m", "antiphon", "tail", "orders", "--from", "start"]
    with subprocess.Popen(command, cwd=antiphon.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tail:
        assert json.loads(tail.stdout.readline())["type"] == "OrderPlaced"
        tail.stdout.close()
        ask("publish", "OrderPlaced", "order_id=9", "total=1")
        assert tail.wait(20) == 0
        assert tail.stderr.read() == b""


def test_a_tail_follows_what_comes_from_the_end_on(antiphon, ask):
    ask("publish", "OrderPlaced", "order_id=1", "total=1")
    antiphon.start("tail", "orders", "--limit", "1")
    time.sleep(1.5)
    ask("publish", "OrderPlaced", "order_id=2", "total=1")
    assert json.loads(antiphon.wait_for("\n", file="out"))["key"] == "2"


def _children(process):
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=False
    )
    return [int(line) for line in found.stdout.split() if _is_running(int(line))]


def _is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _wait(holds, what):
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.1)


def test_a_tail_waits_for_a_topic_that_is_not_there_yet_and_says_so(antiphon, ask):
    ask("publish", "OrderPlaced", "order_id=1", "total=1")
    tail = antiphon.start("tail", "payments", "--from", "start", "--limit", "1")
    antiphon.wait_for("waiting for topic 'payments', which is not there yet; there are orders")
    ask("publish", "PaymentAuthorised", "order_id=1")
    assert tail.wait(20) == 0
    assert json.loads((antiphon.folder / "out").read_text())["type"] == "PaymentAuthorised"
