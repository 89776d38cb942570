"""Dead letters are looked through, mended, sent again and dropped with nothing but the command line."""

import asyncio
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from antiphon.brokers.connect import connect
from antiphon.events.clock import SystemClock
from antiphon.events.message import Message
from antiphon.storage.dead_letters import DeadLetter, park
from antiphon.storage.set_aside import AsideState, Attempt, RetryStore, SetAside, set_aside

NOW = datetime.now(UTC)
OLD = NOW - timedelta(days=9)


def letter(number, **fields):
    data = b'{"order_id":"o-%d","total":"1.50","colour":"red"}' % number
    message = Message(f"m-{number}", "OrderPlaced", NOW, data, f"o-{number}", source="shop")
    message = replace(message, **{name: fields.pop(name) for name in ("type", "content_type") if name in fields})
    values = {
        "topic": "orders",
        "partition": 0,
        "position": str(number),
        "service": "payments",
        "handler": "authorise",
        "attempts": (Attempt(NOW, "ValueError", f"no order {number}", "Traceback (most recent call last): ..."),),
        "reason": "ValueError",
        "fingerprint": "a1b2c3d4e5f6",
        "code_version": "7",
        "parked_at": NOW,
        "lane": f"o-{number}",
    }
    return DeadLetter(message=message, **(values | fields))


def in_store(folder, work):
    """What `work` does with the store of the project."""

    async def run():
        broker = connect(f"embedded:///{folder / '.antiphon' / 'log.db'}")
        await broker.open()
        try:
            return await work(broker.database)
        finally:
            await broker.close()

    return asyncio.run(run())


def plant(folder, *letters):
    async def work(store):
        async with store.transaction() as tx:
            await park(tx, letters)

    in_store(folder, work)


def put_behind(folder, *numbers, key):
    async def work(store):
        async with store.transaction() as tx:
            await set_aside(tx, [_behind(letter(number), key) for number in numbers])

    in_store(folder, work)


def _behind(each, key):
    return SetAside(
        message=each.message,
        topic="orders",
        partition=0,
        position=each.position,
        service="payments",
        group="payments",
        handler="authorise",
        lane=key,
        state=AsideState.BEHIND,
        since=NOW,
    )


def handle(folder, *, fail=()):
    """Be the service: take what is due, give up those that `fail`, finish the rest; returns the ids of the messages."""

    async def work(store):
        retries, now = RetryStore("payments", "test", timedelta(seconds=30)), SystemClock().now()
        async with store.transaction() as tx:
            claimed = await retries.claim(tx, now + timedelta(minutes=1), 100)
            for each in claimed:
                if each.message.id in fail:
                    parked = replace(_behind(letter(1), each.lane), state=AsideState.PARKED, reason="ValueError")
                    await retries.again(tx, each.number, parked)
                else:
                    await retries.finish(tx, [each.number])
        return [each.message.id for each in claimed]

    return in_store(folder, work)


@pytest.fixture
def letters(ask):
    def call(command, *arguments):
        return ask("dead-letters", command, *map(str, arguments))

    call.folder = ask.folder
    call.plant = lambda *planted: plant(ask.folder, *planted)
    return call


def data(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused(done, *told, code=2):
    assert (done.returncode, done.stdout) == (code, ""), (done.stdout, done.stderr)
    assert len(done.stderr.splitlines()) <= 2
    for text in told:
        assert text in done.stderr
    return True


def listed(letters, *arguments):
    return [each["message"]["id"] for each in data(letters("list", "--json", *arguments))["dead_letters"]]


def test_they_are_listed_by_every_field_that_can_be_asked_for(letters):
    letters.plant(letter(1), letter(2, handler="capture", parked_at=OLD), letter(3, group="mail", reason="LostError"))
    assert listed(letters) == ["m-1", "m-2", "m-3"]
    assert listed(letters, "--group", "mail") == ["m-3"]
    assert listed(letters, "--handler", "capture", "--topic", "orders", "--type", "OrderPlaced") == ["m-2"]
    assert listed(letters, "--key", "o-1", "--fingerprint", "a1b2c3d4e5f6", "--reason", "ValueError") == ["m-1"]
    assert listed(letters, "--until", (NOW - timedelta(days=1)).isoformat()) == ["m-2"]
    assert listed(letters, "--since", (NOW - timedelta(days=1)).isoformat(), "--message", "m-3") == ["m-3"]
    assert listed(letters, "--text", "NO ORDER 2") == ["m-2"]
    assert listed(letters, letter(1).id, letter(2, handler="capture").id[:20]) == ["m-1", "m-2"]
    assert letters("list", "--tenant", "nobody").stdout == "no dead letters\n"
    assert letters("list", "--ids", "--group", "mail").stdout == f"{letter(3, group='mail').id}\n"


def test_pages_go_on_where_the_last_one_ended(letters):
    letters.plant(*(letter(number) for number in range(5)))
    page, after, seen = {"next": 0}, 0, []
    while page["next"] is not None:
        page = data(letters("list", "--json", "--limit", 2, "--after", after))
        seen += [each["message"]["id"] for each in page["dead_letters"]]
        after = page["next"]
        assert page["total"] == 5
    assert seen == ["m-0", "m-1", "m-2", "m-3", "m-4"]
    first = letters("list", "--limit", 2).stdout
    assert "no order 1" in first
    assert "5 in all; the next ones come with --after 2" in first


def test_those_that_failed_alike_are_counted(letters):
    letters.plant(letter(1), letter(2), letter(3, fingerprint="b"))
    first, second = data(letters("list", "--by-failure", "--json"))["failures"]
    assert (first["count"], first["example"], first["error"]) == (2, letter(2).id, "ValueError: no order 2")
    assert (second["count"], second["fingerprint"]) == (1, "b")
    assert "2 x payments/authorise  fingerprint a1b2c3d4e5f6" in letters("list", "--by-failure").stdout


def test_all_that_is_known_of_one_is_shown(letters):
    letters.plant(letter(1))
    put_behind(letters.folder, 11, 12, key="o-1")
    shown = letters("show", letter(1).id[:20]).stdout
    for text in (
        f"dead letter {letter(1).id}",
        "by payments/authorise, code version 7",
        "because  ValueError, fingerprint a1b2c3d4e5f6",
        "message  OrderPlaced m-1, version 1",
        "from     orders/0@1",
        "behind   2 of its key wait",
        '"total": "1.50"',
        "attempt 1 of 1, ",
        "Traceback (most recent call last)",
    ):
        assert text in shown
    known = data(letters("show", letter(1).id, "--json"))
    assert known["behind"]["messages"] == 2
    assert known["attempts"][0]["traceback"].startswith("Traceback")
    assert (known["message"]["data"]["order_id"], known["changes"], known["state"]) == ("o-1", [], "parked")


def test_an_edit_is_checked_kept_and_shown_as_a_difference(letters):
    letters.plant(letter(1))
    edited = letters("edit", letter(1).id, "--set", "total=20", "--by", "ada")
    assert edited.returncode == 0, edited.stderr
    assert '-  "total": "1.50",' in edited.stdout
    assert '+  "total": "20",' in edited.stdout
    shown = data(letters("show", letter(1).id, "--json"))
    assert shown["message"]["data"] == {"order_id": "o-1", "total": "1.50", "colour": "red"}
    assert shown["edited"]["data"] == {"order_id": "o-1", "total": "20", "colour": "red"}
    (change,) = shown["changes"]
    assert (change["by"], change["kind"], change["before"]["data"]["total"]) == ("ada", "edit", "1.50")
    assert '+  "total": "20",' in letters("diff", letter(1).id).stdout
    assert data(letters("diff", letter(1).id, "--json"))["edited"]
    assert "edited" in letters("list").stdout
    text = letters("show", letter(1).id).stdout
    assert "data as it was edited" in text
    assert " by ada" in text


def test_edits_are_taken_back(letters):
    letters.plant(letter(1))
    assert letters("edit", letter(1).id, "--set", "total=20").returncode == 0
    assert "is as it came again" in letters("edit", letter(1).id, "--revert").stdout
    assert "never edited, or its edits were taken back" in letters("diff", letter(1).id).stdout
    kinds = [change["kind"] for change in data(letters("show", letter(1).id, "--json"))["changes"]]
    assert kinds == ["edit", "revert"]
    assert refused(letters("edit", letter(1).id, "--revert"), "nothing to take back")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--set", "totl=1"], "totl: OrderPlaced has no 'totl' there; what is read has order_id, total"),
        (["--set", "total=much"], "OrderPlaced does not take that"),
        (["--set", "order_id=o-2"], "order_id is the key of OrderPlaced and would become 'o-2' instead of 'o-1'"),
        (["--data", '{"order_id":"o-1"}'], "handler 'authorise' of group 'payments' could not read that"),
        (["--data", "@nowhere.json"], "--data @nowhere.json: cannot read that file"),
        (["--data", "{}", "--revert"], "say one of --set, --data and --revert"),
        (["--set", "total"], "'total': write field=value"),
        ([], "an editor needs a terminal"),
    ],
)
def test_an_edit_that_does_not_fit_is_refused_and_nothing_is_changed(letters, arguments, told):
    letters.plant(letter(1))
    before = data(letters("show", letter(1).id, "--json"))
    assert refused(letters("edit", letter(1).id, *arguments), told)
    assert data(letters("show", letter(1).id, "--json")) == before


def test_the_whole_data_comes_from_a_file_or_from_input(letters, antiphon):
    letters.plant(letter(1))
    (letters.folder / "new.json").write_text('{"order_id": "o-1", "total": "3"}\n')
    assert letters("edit", letter(1).id, "--data", "@new.json").returncode == 0
    assert data(letters("show", letter(1).id, "--json"))["edited"]["data"]["total"] == "3"
    piped = subprocess.run(
        [sys.executable, "-m", "antiphon", "dead-letters", "edit", letter(1).id, "--data", "-", "--json"],
        cwd=letters.folder,
        input='{"order_id":"o-1","total":"4"}',
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(piped.stdout)["edited"]["data"]["total"] == "4"


def test_on_a_terminal_an_editor_asks(letters):
    letters.plant(letter(1))
    editor = letters.folder / "editor.sh"
    editor.write_text('#!/bin/sh\nsed -i "s/1.50/99/" "$1"\n')
    editor.chmod(0o755)
    terminal, slave = os.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "antiphon", "dead-letters", "edit", letter(1).id],
        cwd=letters.folder,
        env={**os.environ, "EDITOR": str(editor), "VISUAL": ""},
        stdin=slave,
        stderr=slave,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    os.close(slave)
    os.close(terminal)
    assert '+  "total": "99",' in done.stdout
    assert data(letters("show", letter(1).id, "--json"))["edited"]["data"]["total"] == "99"


def test_an_event_that_no_module_reads_is_edited_only_unchecked(letters):
    odd = letter(1, type="OrderLost")
    letters.plant(odd)
    assert refused(
        letters("edit", odd.id, "--set", "total=1"), "has no handler any more for 'OrderLost'", "--unchecked"
    )
    assert letters("edit", odd.id, "--set", "total=1", "--unchecked").returncode == 0
    assert data(letters("show", odd.id, "--json"))["edited"]["data"]["total"] == "1"


def test_without_modules_an_edit_asks_for_them(letters):
    letters.plant(letter(1))
    (letters.folder / "antiphon.toml").write_text("")
    assert refused(letters("edit", letter(1).id, "--set", "total=1"), "--module", "--unchecked")
    assert letters("edit", letter(1).id, "--set", "total=1", "--module", "payments").returncode == 0


def test_one_is_sent_again_without_a_question(letters):
    letters.plant(letter(1), letter(2))
    standing = data(letters("retry", letter(1).id, "--by", "ada", "--json"))
    assert (standing["status"], standing["total"], standing["under_way"]) == ("running", 1, 1)
    assert standing["without_service"] == ["payments"]
    told = "no service of payments runs: it begins when one starts; antiphon dead-letters redrives"
    assert f"{told} {standing['id']} says how far it is" in letters("redrives", standing["id"]).stdout
    assert handle(letters.folder) == ["m-1"]
    assert listed(letters) == ["m-2"]
    done = data(letters("retry", "--stop", standing["id"], "--json"))
    assert (done["status"], done["handled"]) == ("stopped", 1)
    (known,) = data(letters("redrives", "--json"))
    assert (known["id"], known["started_by"]) == (standing["id"], "ada")


def test_what_was_edited_is_what_is_sent(letters):
    letters.plant(letter(1))
    letters("edit", letter(1).id, "--set", "total=20")
    letters("retry", letter(1).id)

    async def claimed(store):
        async with store.transaction() as tx:
            return await RetryStore("payments", "test", timedelta(seconds=30)).claim(tx, SystemClock().now(), 1)

    (sent,) = in_store(letters.folder, claimed)
    assert json.loads(sent.message.data) == {"order_id": "o-1", "total": "20", "colour": "red"}
    assert (sent.message.id, sent.message.key) == ("m-1", "o-1")


def test_many_are_sent_only_when_it_is_certain_that_they_are_meant(letters):
    letters.plant(letter(1), letter(2), letter(3, handler="capture"))
    assert refused(
        letters("retry", "--group", "payments"), "3 dead letters of payments/authorise (2)", "sent again", "--yes"
    )
    assert refused(letters("retry"), "say which dead letters", "--all")
    assert listed(letters) == ["m-1", "m-2", "m-3"]
    standing = data(letters("retry", "--group", "payments", "--limit", 2, "--rate", "unlimited", "--yes", "--json"))
    assert (standing["total"], standing["under_way"]) == (2, 2)
    assert listed(letters) == ["m-3"]


def test_canaries_go_first_and_a_failing_one_stops_the_rest_until_it_is_resumed(letters, antiphon):
    letters.plant(*(letter(number) for number in range(5)))
    process = antiphon.start("dead-letters", "retry", "--all", "--canary", "2", "--yes", "--wait")
    antiphon.wait_for("2 on their way, 3 waiting")
    assert handle(letters.folder, fail=["m-0"]) == ["m-0", "m-1"]
    assert process.wait(20) == 1
    told = (letters.folder / "out").read_text()
    assert "is stopped (1 canary failed again): 1 of 5 handled, 0 on their way, 3 waiting, 1 failed again" in told
    redrive = told.split()[1]
    assert f"go on with antiphon dead-letters retry --resume {redrive}" in told
    assert listed(letters) == ["m-0", "m-2", "m-3", "m-4"]
    shown = letters("list").stdout
    assert f"OrderPlaced o-0  (0 attempts, failed again in {redrive})\n" in shown
    assert shown.count("failed again") == 1
    assert data(letters("retry", "--resume", redrive, "--json"))["under_way"] == 2
    assert handle(letters.folder) == ["m-2", "m-3"]
    assert refused(letters("retry", "--resume", redrive), "runs, so it cannot be resumed")
    assert f"redrive {redrive} runs: 3 of 5 handled" in letters("redrives", redrive).stdout
    assert f"redrive {redrive} runs: 3 of 5 handled" in letters("redrives").stdout


def test_following_one_ends_with_it_and_says_by_its_exit_code_how(letters, antiphon):
    letters.plant(letter(1), letter(2))
    assert data(letters("retry", letter(1).id, "--json"))["under_way"] == 1
    handle(letters.folder)
    (first,) = data(letters("redrives", "--json"))
    process = antiphon.start("dead-letters", "retry", letter(2).id, "--wait", "--json")
    antiphon.wait_for("1 on their way")
    assert handle(letters.folder, fail=["m-2"]) == ["m-2"]
    assert process.wait(20) == 1
    ended = json.loads((letters.folder / "out").read_text())
    assert (ended["status"], ended["failed"], ended["handled"]) == ("done", 1, 0)
    # On its way it has also ended the other one, as any service would have.
    assert data(letters("redrives", first["id"], "--json"))[0]["status"] == "done"


def test_letters_that_inboxes_may_have_forgotten_are_warned_of(letters):
    letters.plant(letter(1, parked_at=OLD))
    told = (
        "parked more than 7d ago: inboxes keep ids no longer, so what was handled meanwhile, as after a seek, would be "
        "handled twice\n"
    )
    warned = letters("retry", letter(1).id)
    assert warned.stderr.startswith(f"warning: 1 of them was {told}error: 1 dead letter of payments/authorise (1) ")
    assert (warned.returncode, listed(letters)) == (2, ["m-1"])
    letters.plant(letter(2, parked_at=OLD), letter(3))
    assert letters("retry", "--all").stderr.startswith(f"warning: 2 of them were {told}")
    assert letters("retry", "--all", "--yes").returncode == 0


def test_letters_that_inboxes_remember_are_sent_without_a_warning(letters):
    letters.plant(letter(1))
    assert letters("retry", letter(1).id).stderr == ""


def test_what_has_no_handler_any_more_is_sent_only_unchecked(letters):
    gone = letter(1, type="OrderLost")
    letters.plant(gone, letter(2))
    told = "group 'payments' has no handler any more for 'OrderLost'; it reads OrderPlaced"
    assert refused(letters("retry", "--all", "--yes"), told, "--unchecked")
    assert listed(letters) == ["m-1", "m-2"]
    assert letters("retry", "--all", "--yes", "--unchecked").returncode == 0


def test_what_is_being_redriven_is_not_touched(letters):
    letters.plant(letter(1), letter(2))
    redrive = data(letters("retry", "--all", "--rate", "1/h", "--yes", "--json"))["id"]
    told = f"is being redriven by {redrive}"
    assert refused(letters("retry", letter(2).id), told, f"retry --stop {redrive}")
    assert refused(letters("retry", letter(1).id), told)
    assert refused(letters("edit", letter(2).id, "--set", "total=1"), told)
    assert refused(letters("drop", letter(2).id, "--yes"), told)
    assert told[3:] in letters("list").stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["show", "0123456789"], "there is no dead letter '0123456789'"),
        (["diff", "0123"], "too short"),
        (["edit", "0123456789", "--set", "a=1"], "there is no dead letter"),
        (["retry", "0123456789"], "there is no dead letter"),
        (["drop", "0123456789", "--yes"], "there is no dead letter"),
        (["list", "0123456789"], "there is no dead letter"),
        (["list", "--since", "yesterday"], "--since yesterday: write a time as in"),
        (["retry", "--all", "--rate", "fast"], "--rate fast: write 10/s"),
        (["retry", "--resume", "nope"], "there is no redrive 'nope'"),
        (["retry", "--stop", "nope", "--group", "x"], "give nothing else with them"),
        (["redrives", "nope"], "there is no redrive 'nope'"),
        (["drop"], "say which dead letters"),
    ],
)
def test_what_is_not_there_or_makes_no_sense_is_answered_in_one_line(letters, arguments, told):
    letters.plant(letter(1))
    assert refused(letters(*arguments), told)
    assert listed(letters) == ["m-1"]


def test_dropped_ones_are_gone_and_can_still_be_seen(letters):
    letters.plant(letter(1), letter(2), letter(3, group="mail"))
    put_behind(letters.folder, 11, key="o-1")
    told = (
        "error: 1 dead letter of payments/authorise (1) would be dropped; without a terminal nobody can be asked, so "
        "nothing was changed: confirm with --yes\n"
    )
    assert refused(letters("drop", letter(1).id), told)
    dropped = letters("drop", "--group", "payments", "--by", "ada", "--yes")
    assert dropped.stdout.startswith("dropped 2 dead letters of payments/authorise (2)")
    assert listed(letters) == ["m-3"]
    assert handle(letters.folder) == ["m-11"]
    newest, oldest = data(letters("dropped", "--json"))
    assert [newest["message"]["id"], oldest["message"]["id"]] == ["m-2", "m-1"]
    assert (oldest["dropped_by"], oldest["message"]["data"]["order_id"]) == ("ada", "o-1")
    assert " by ada" in letters("dropped").stdout
    assert letters("dropped", "--group", "mail").stdout == "nothing was dropped\n"
    assert "no dead letter fits" in letters("drop", "--group", "payments", "--yes").stdout
    assert "no dead letter fits" in letters("retry", "--group", "payments").stdout


def test_on_a_terminal_it_asks_and_takes_no_for_an_answer(letters):
    letters.plant(letter(1))
    terminal, slave = os.openpty()
    command = [sys.executable, "-m", "antiphon", "dead-letters", "drop", letter(1).id]
    with subprocess.Popen(
        command, cwd=letters.folder, stdin=slave, stderr=slave, stdout=subprocess.PIPE, text=True
    ) as asking:
        os.write(terminal, b"\n")
        told, _ = asking.communicate(timeout=20)
    os.close(slave)
    os.close(terminal)
    assert told == "nothing was changed\n"
    assert listed(letters) == ["m-1"]
