"""What is dropped is gone from the flow, kept to be seen, and holds up nothing any more."""

from datetime import timedelta

import pytest

from antiphon.deadletters.choosing import letter_of
from antiphon.deadletters.dropping import drop
from antiphon.deadletters.editing import edit, edited_message
from antiphon.deadletters.redrive import Pace, start_redrive
from antiphon.errors import DeadLetterError
from antiphon.storage.letter_changes import ChangeKind, drop_letters, list_dropped
from tests.unit.deadletters.letters import ADA, Hands, letter, many_parked, parked, parked_ids, put_behind


async def test_a_dropped_letter_is_kept_whole_with_who_and_when(store):
    numbers = await parked(store, letter(1, key="k"), letter(2))
    await drop(store, numbers[:1], ADA)
    assert await parked_ids(store) == ["m-2"]
    (dropped,) = await list_dropped(store)
    assert (dropped.kind, dropped.by, dropped.time) == (ChangeKind.DROP, "ada", ADA.time)
    assert (dropped.dropped, dropped.after) == (letter(1, key="k"), None)


async def test_what_was_edited_before_is_kept_too(store):
    numbers = await parked(store, letter(1))
    before = await letter_of(store, letter(1).id)
    edited = edited_message(before, b"{}", None)
    await edit(store, before, edited, ADA)
    await drop(store, numbers, ADA)
    (dropped,) = await list_dropped(store)
    assert (dropped.before, dropped.after) == (before.letter.message, edited)


async def test_what_waits_behind_it_goes_on_in_order(store, clock):
    numbers = await parked(store, letter(1, key="k"), letter(2, key="other"))
    await put_behind(store, "k", 3, 4)
    await put_behind(store, "other", 5)
    await drop(store, numbers[:1], ADA._replace(time=clock.now()))
    assert await Hands(store, clock).due() == ["m-3", "m-4"]


async def test_dropped_ones_are_listed_by_group_the_newest_first_page_by_page(store):
    numbers = await parked(store, letter(1), letter(2, group="g"), letter(3))
    await drop(store, numbers, ADA)
    assert [each.before.id for each in await list_dropped(store)] == ["m-3", "m-2", "m-1"]
    assert [each.before.id for each in await list_dropped(store, "g")] == ["m-2"]
    first, second = await list_dropped(store, limit=2)
    assert [each.before.id for each in await list_dropped(store, before=second.number)] == ["m-1"]
    assert first.number > second.number


async def test_either_all_are_dropped_or_none(store, clock):
    numbers = await many_parked(store, 3)
    await start_redrive(store, clock, numbers[2:], Pace(spacing=timedelta(hours=1)), "ada")
    with pytest.raises(DeadLetterError, match="1 of 3 letters are being redriven"):
        await drop(store, numbers, ADA)
    assert await parked_ids(store) == ["m-1", "m-2"]
    assert await list_dropped(store) == []


async def test_what_is_no_dead_letter_any_more_is_neither_dropped_nor_noted(store, clock):
    numbers = await many_parked(store, 2)
    await start_redrive(store, clock, numbers[:1], Pace(), "ada")
    async with store.transaction() as tx:
        await drop_letters(tx, numbers, ADA)
    assert [each.before.id for each in await list_dropped(store)] == ["m-2"]
    assert await Hands(store, clock).due() == ["m-1"]
