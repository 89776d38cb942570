"""What a redrive does to letters is done once, whoever else tries, and only to what is parked."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from antiphon.events.message import Message
from antiphon.storage.dead_letters import DeadLetter, RedriveState, find, find_any, park
from antiphon.storage.letter_query import LetterQuery
from antiphon.storage.redrives import (
    Redrive,
    RedriveStatus,
    Release,
    begin_redrive,
    change_redrive,
    list_redrives,
    release_letters,
    running_redrives,
    standing_of,
    take_back,
    taken_already,
    waiting_letters,
)
from antiphon.storage.set_aside import AsideState

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def redrive(id="r1", **fields):
    values = {
        "id": id,
        "started_at": NOW,
        "started_by": "ada",
        "total": 3,
        "spacing": timedelta(milliseconds=20),
        "next_at": NOW + timedelta(microseconds=7),
        "canaries": 2,
        "canaries_until": 2,
        "stop_after": 5,
    }
    return Redrive(**(values | fields))


@pytest.fixture
async def numbers(tx):
    """Of three dead letters."""
    await park(tx, [letter(number) for number in range(3)])
    return [each.number for each in await find(tx, LetterQuery(), 10)]


def letter(number):
    return DeadLetter(
        message=Message(f"m-{number}", "OrderPlaced", NOW, b"{}"),
        topic="orders",
        partition=0,
        position=str(number),
        service="payments",
        handler="authorise",
        attempts=(),
        reason="ValueError",
        code_version="",
        parked_at=NOW,
    )


async def test_it_comes_back_as_it_was_begun(tx, numbers):
    await begin_redrive(tx, redrive(), numbers)
    standing = await standing_of(tx, "r1")
    assert standing.redrive == redrive()
    assert (standing.waiting, standing.under_way, standing.failed, standing.handled) == (3, 0, 0, 0)
    assert await standing_of(tx, "r2") is None


async def test_they_are_listed_the_newest_first_and_those_that_run(tx, numbers):
    await begin_redrive(tx, redrive(), numbers[:1])
    await begin_redrive(tx, redrive("r2"), numbers[1:])
    assert [each.redrive.id for each in await list_redrives(tx)] == ["r2", "r1"]
    assert [each.redrive.id for each in await list_redrives(tx, 1)] == ["r2"]
    assert await change_redrive(tx, redrive(status=RedriveStatus.DONE))
    assert await running_redrives(tx) == ["r2"]


async def test_a_change_of_what_was_changed_since_it_was_read_changes_nothing(tx, numbers):
    await begin_redrive(tx, redrive(), numbers)
    read = (await standing_of(tx, "r1")).redrive
    assert await change_redrive(tx, replace(read, released=1, note="first", ended_at=NOW))
    assert not await change_redrive(tx, replace(read, released=2, note="second"))
    now = (await standing_of(tx, "r1")).redrive
    assert (now.released, now.note, now.ended_at, now.step) == (1, "first", NOW, 1)


async def test_letters_wait_in_order_and_what_is_let_go_waits_no_more(tx, numbers):
    await begin_redrive(tx, redrive(), reversed_(numbers))
    assert await waiting_letters(tx, "r1", 2) == numbers[:2]
    await release_letters(tx, "r1", [Release(numbers[0], NOW)])
    assert await waiting_letters(tx, "r1", 10) == numbers[1:]
    (first,) = await find_any(tx, [letter(0).id])
    assert (first.state, first.redrive, first.redrive_state) == (AsideState.DELAYED, "r1", RedriveState.RELEASED)


def reversed_(numbers):
    return list(reversed(numbers))


async def test_what_is_not_parked_any_more_is_not_let_go_twice(tx, numbers):
    await begin_redrive(tx, redrive(), numbers)
    await release_letters(tx, "r1", [Release(numbers[0], NOW)])
    await release_letters(tx, "r1", [Release(numbers[0], NOW + timedelta(hours=1))])
    due = await tx.fetch("select due_at from antiphon_set_aside where number = ?", numbers[0], row=int)
    assert due == [int(NOW.timestamp() * 1e6)]


async def test_what_nobody_has_in_hand_is_taken_back(tx, numbers):
    await begin_redrive(tx, redrive(), numbers)
    await release_letters(tx, "r1", [Release(number, NOW) for number in numbers])
    held = int((NOW + timedelta(seconds=30)).timestamp() * 1e6)
    await tx.execute("update antiphon_set_aside set token = 't', held_until = ? where number = ?", held, numbers[0])
    assert await take_back(tx, "r1", NOW) == 2
    assert await waiting_letters(tx, "r1", 10) == numbers[1:]
    assert await take_back(tx, "r1", NOW + timedelta(minutes=1)) == 1


async def test_letters_are_taken_when_a_running_redrive_has_them_or_they_are_not_parked(tx, numbers):
    assert await taken_already(tx, numbers) == 0
    assert await taken_already(tx, [*numbers, 999]) == 1
    await begin_redrive(tx, redrive(), numbers[:2])
    assert await taken_already(tx, numbers) == 2
    await release_letters(tx, "r1", [Release(numbers[0], NOW)])
    assert await taken_already(tx, numbers) == 2
    await change_redrive(tx, redrive(status=RedriveStatus.STOPPED))
    assert await taken_already(tx, numbers) == 1
