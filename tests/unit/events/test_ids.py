"""Ids are unique, ordered by time, and repeatable where a handler may run twice."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.events import ids
from antiphon.events.ids import identity, new_id, repeatable_id

CAUSE = "0190a5c8-7b3f-7abc-8def-0123456789ab"


def millisecond(id: str) -> int:
    return UUID(id).int >> 80


def test_ids_are_unique_and_never_go_back() -> None:
    made = [new_id() for _ in range(20_000)]
    assert len(set(made)) == len(made)
    assert made == sorted(made)


def test_ids_are_uuids_of_version_7_written_in_the_usual_way() -> None:
    made = new_id()
    assert (UUID(made).version, UUID(made).variant) == (7, "specified in RFC 4122")
    assert str(UUID(made)) == made


def test_ids_carry_the_time_they_were_made() -> None:
    before = time.time_ns() // 1_000_000
    made = millisecond(new_id())
    # The counter may borrow a few milliseconds from the future when many ids are made at once.
    assert before <= made <= time.time_ns() // 1_000_000 + 50


def test_ids_go_forward_when_the_clock_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "_sequence", ids._Sequence())
    first = new_id()
    monkeypatch.setattr(ids, "time_ns", lambda: 0)
    assert first < new_id() < new_id()


def test_ids_go_forward_when_a_millisecond_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns()
    monkeypatch.setattr(ids, "_sequence", ids._Sequence())
    monkeypatch.setattr(ids, "time_ns", lambda: now)
    made = [new_id() for _ in range(10_000)]
    assert made == sorted(set(made))
    assert millisecond(made[-1]) > millisecond(made[0])


FORK = """
import os
from antiphon.events.ids import new_id
new_id()
child = os.fork()
made = " ".join(new_id() for _ in range(50))
os.write(1, made.encode() + b"\\n")
if child:
    os.waitpid(child, 0)
else:
    os._exit(0)
"""


def test_forked_children_make_ids_of_their_own() -> None:
    found = subprocess.run([sys.executable, "-c", FORK], check=True, capture_output=True, text=True).stdout
    first, second = (line.split() for line in found.splitlines())
    # The random halves differ: with a shared pool the child would make the very ones its parent makes next.
    assert {identity[19:] for identity in first}.isdisjoint(identity[19:] for identity in second)
    assert (len(first), len(second)) == (50, 50)


@pytest.mark.parametrize(
    ("cause", "service", "handler", "index", "expected"),
    [
        (CAUSE, "payments", "payments.authorise", 0, "0190a5c8-7b3f-7404-9663-77a2f872e22a"),
        (CAUSE, "payments", "payments.authorise", 1, "0190a5c8-7b3f-79dd-a572-6e6ba57cb93f"),
        ("order-17", "payments", "payments.authorise", 0, "00000000-0000-77ee-9dee-c4f007b13240"),
        ("", "", "", 0, "00000000-0000-7da1-888c-55b4d52db367"),
    ],
)
def test_repeatable_ids_never_change_between_releases(
    cause: str, service: str, handler: str, index: int, expected: str
) -> None:
    assert repeatable_id(cause, service, handler, index) == expected


def test_repeatable_ids_carry_the_time_of_their_cause() -> None:
    assert millisecond(repeatable_id(CAUSE, "payments", "authorise", 3)) == millisecond(CAUSE)


@pytest.mark.parametrize(
    "cause",
    [
        "f47ac10b-58cc-4372-a567-0e02b2c3d479",
        "-1",
        "+f",
        "",
        "0190a5c8-7b3f-7abc",
        "-0a5c8-7b3f-7abc-8def-0123456789abxxx",
    ],
)
def test_causes_without_a_time_give_ids_at_the_beginning_of_time(cause: str) -> None:
    assert millisecond(repeatable_id(cause, "payments", "authorise", 0)) == 0


@given(cause=st.one_of(st.uuids().map(str), st.text()), index=st.integers(0, 1000))
def test_repeatable_ids_are_uuids_of_version_7_whatever_the_cause(cause: str, index: int) -> None:
    made = repeatable_id(cause, "payments", "authorise", index)
    assert (UUID(made).version, UUID(made).variant) == (7, "specified in RFC 4122")
    assert str(UUID(made)) == made


def test_a_cause_in_capitals_gives_its_time_in_small_letters() -> None:
    assert repeatable_id(CAUSE.upper(), "payments", "authorise", 0).startswith("0190a5c8-7b3f-7")


def test_threads_that_make_ids_at_once_make_different_ones() -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: [new_id() for _ in range(2_000)], range(8)))
    assert len({identity for part in made for identity in part}) == 16_000


def test_repeatable_ids_differ_by_cause_service_handler_and_index() -> None:
    made = [
        repeatable_id(cause, service, handler, index)
        for cause in (CAUSE, "order-17")
        for service in ("payments", "stock")
        for handler in ("a", "b")
        for index in range(100)
    ]
    assert len(set(made)) == len(made)


def test_a_uuid_tells_its_message_from_every_other() -> None:
    assert identity(CAUSE, "orders") == identity(CAUSE, "a bridge that names itself") == CAUSE


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_any_other_id_counts_in_its_source_only(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (identity(*one) == identity(*other)) == (one == other)


@pytest.mark.parametrize(("id", "source"), [("1", "shop"), ("", ""), ("3-a:1", ""), ("a", "3:b"), ("x" * 36, "")])
def test_no_other_identity_passes_for_a_uuid(id: str, source: str) -> None:
    assert identity(identity(id, source), "any") != identity(id, source)
