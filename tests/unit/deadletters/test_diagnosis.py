"""A diagnosis travels with a message and comes back whole, as far as it fits."""

from msgspec.structs import replace

from antiphon.deadletters.diagnosis import EXTENSION, diagnosed, with_diagnosis, without_diagnosis
from antiphon.events.wire import from_structured, to_structured
from antiphon.storage.set_aside import Attempt
from tests.unit.deadletters.letters import PARKED_AT, letter

LONG = tuple(Attempt(PARKED_AT, "ValueError", f"number {n} " + "x" * 900, f"{n}" * 9_000 + "end") for n in range(20))


def with_extensions(each):
    return replace(each, message=replace(each.message, extensions={"region": "eu"}))


def test_it_comes_back_as_it_was():
    each = with_extensions(letter(1, key="k"))
    message = with_diagnosis(each)
    assert diagnosed(message) == each
    assert without_diagnosis(message) == each.message
    assert (message.id, message.data, message.key) == (each.message.id, each.message.data, each.message.key)


def test_it_survives_the_wire():
    each = with_extensions(letter(1, key="k"))
    assert diagnosed(from_structured(to_structured(with_diagnosis(each)))) == each


def test_a_long_one_keeps_the_last_traceback_first_and_then_its_end():
    each = letter(1, attempts=LONG)
    whole = len(with_diagnosis(each, most=10**9).extensions[EXTENSION])
    one = diagnosed(with_diagnosis(each, most=whole - 1))
    assert [bool(attempt.traceback) for attempt in one.attempts] == [False] * 19 + [True]
    assert one.attempts[-1] == LONG[-1]
    cut = diagnosed(with_diagnosis(each, most=25_000))
    assert len(cut.attempts) == 20
    assert len(cut.attempts[-1].traceback) < 9_000
    assert cut.attempts[-1].traceback.endswith("end")


def test_it_stays_below_its_limit_by_keeping_the_last_few_attempts():
    message = with_diagnosis(letter(1, attempts=LONG), most=8_000)
    assert len(message.extensions[EXTENSION]) <= 8_000
    kept = diagnosed(message).attempts
    assert kept[-1].text.startswith("number 19")
    assert len(kept) == 10


def test_a_message_without_one_or_with_a_broken_one_has_none():
    message = letter(1).message
    assert diagnosed(message) is None
    assert without_diagnosis(message) is message
    assert diagnosed(replace(message, extensions={EXTENSION: "{}"})) is None
    assert diagnosed(replace(message, extensions={EXTENSION: True})) is None
