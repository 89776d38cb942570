"""What the commands about dead letters say fits what is the case."""

import pytest

from tests.integration.cli.test_dead_letters import NOW, data, in_store, letter, plant, put_behind, refused


@pytest.fixture
def letters(ask):
    def call(command, *arguments):
        return ask("dead-letters", command, *map(str, arguments))

    call.folder = ask.folder
    call.plant = lambda *planted: plant(ask.folder, *planted)
    return call


def test_one_that_waits_behind_another_is_shown_as_such(letters):
    letters.plant(letter(1))
    put_behind(letters.folder, 11, key="o-1")
    waiting = in_store(letters.folder, lambda store: store.fetch("select id from antiphon_set_aside where state <> 2"))
    shown = letters("show", waiting[0][0]).stdout
    assert "  waits    behind another one of its key, set aside " in shown
    assert "parked" not in shown
    assert "because" not in shown


def test_times_are_in_utc_and_say_so(letters):
    letters.plant(letter(1))
    assert letters("list").stdout.startswith(NOW.strftime("%Y-%m-%d %H:%M:%SZ  payments/authorise"))


def test_a_group_without_dead_letters_is_answered_with_those_that_have_some(letters):
    letters.plant(letter(1), letter(2, group="mail"))
    for command in ("retry", "drop"):
        done = letters(command, "--group", "nogroup", "--yes")
        assert (done.returncode, done.stdout[:18]) == (0, "no dead letter fit")
        assert done.stderr == "note: group 'nogroup' has no dead letters; there are some of mail, payments\n"


def test_letters_that_left_a_redrive_are_counted_apart(letters):
    letters.plant(letter(1), letter(2))
    redrive = data(letters("retry", "--all", "--rate", "1/h", "--yes", "--json"))["id"]
    assert "dropped" not in letters("redrives", redrive).stdout
    letters("retry", "--stop", redrive)
    letters("drop", letter(2).id, "--yes")
    told = "0 of 2 handled, 0 on their way, 1 waiting, 0 failed again, 1 dropped or taken by another redrive\n"
    assert told in letters("redrives", redrive).stdout


def test_the_key_of_one_that_others_wait_behind_is_refused_for_that(letters):
    letters.plant(letter(1))
    editing = ("edit", letter(1).id, "--set", "order_id=o-2")
    assert refused(letters(*editing), "but its place in the order follows from its key: leave it as it is")
    put_behind(letters.folder, 11, key="o-1")
    assert refused(letters(*editing), "but others wait behind this message for its key: leave it as it is")
