"""An id or a question means certain dead letters, or is refused with what there is."""

from datetime import timedelta

import pytest

from antiphon.deadletters.choosing import choose, forgotten, letter_of, require_idle, whole_ids
from antiphon.deadletters.readers import Reader, Readers
from antiphon.deadletters.redrive import Pace, start_redrive
from antiphon.errors import DeadLetterError
from antiphon.storage.inbox import KEEP_MARKS
from antiphon.storage.letter_query import LetterQuery
from tests.unit.deadletters.letters import PARKED_AT, letter, many_parked, parked, put_behind

LONG = Pace(spacing=timedelta(hours=1))


async def test_an_id_is_known_by_its_beginning(store):
    await many_parked(store, 3)
    id = letter(2).id
    assert (await letter_of(store, id[:20])).letter == letter(2)
    assert await whole_ids(store, [letter(1).id, id.upper(), id]) == (letter(1).id, id, id)


async def test_a_beginning_that_several_share_is_refused_with_two_of_them(store):
    await many_parked(store, 2)
    first, second = sorted(letter(number).id for number in (1, 2))
    beginning = first[:12]
    with pytest.raises(DeadLetterError, match=f"begins several dead letters, as {first} and {second}: give more") as it:
        await letter_of(store, beginning)
    enough = int(str(it.value).rpartition(", ")[2].split()[0])
    assert await whole_ids(store, [first[:enough], second[:enough]]) == (first, second)
    assert first[: enough - 1] == second[: enough - 1]


async def test_a_beginning_of_one_that_is_parked_and_of_others_that_are_not_means_that_one(store):
    await many_parked(store, 1)
    await put_behind(store, "o-1", 11, 12)
    beginning = letter(1).id[:8]
    ids = await store.fetch("select id from antiphon_set_aside", row=str)
    assert sum(id.startswith(beginning) for id in ids) > 1
    assert await whole_ids(store, [beginning]) == (letter(1).id,)


@pytest.mark.parametrize(("written", "told"), [("abc", "too short"), ("0123456789", "there is no dead letter")])
async def test_an_id_that_means_none_is_refused(store, written, told):
    await many_parked(store, 1)
    for refused in (letter_of(store, written), choose(store, LetterQuery(ids=(written,)))):
        with pytest.raises(DeadLetterError, match=told):
            await refused


async def test_what_fits_is_chosen_in_order_up_to_the_limit_and_the_rest_is_counted(store):
    await parked(store, letter(1), letter(2, handler="other"), letter(3), letter(4))
    chosen = await choose(store, LetterQuery(handler="authorise"), limit=2)
    assert [each.id for each in chosen.letters] == [letter(1).id, letter(3).id]
    assert chosen.left_out == 1
    assert (await choose(store, LetterQuery(handler="nobody"))).letters == ()


async def test_what_was_chosen_is_told_by_group_and_handler(store):
    await parked(store, letter(1), letter(2, handler="other"), letter(3))
    assert (await choose(store, LetterQuery())).counts() == [("payments/authorise", 2), ("payments/other", 1)]


async def test_one_that_is_being_redriven_cannot_be_chosen(store, clock):
    numbers = await many_parked(store, 2)
    redrive = await start_redrive(store, clock, numbers, LONG, "ada")
    for query in (LetterQuery(), LetterQuery(ids=(letter(1).id,))):
        with pytest.raises(DeadLetterError, match=f"is being redriven by {redrive.redrive.id}: wait for it, or stop"):
            await choose(store, query)
    with pytest.raises(DeadLetterError, match="is being redriven"):
        require_idle(await letter_of(store, letter(2).id))


async def test_one_that_is_no_dead_letter_cannot_be_chosen_by_its_id(store):
    await parked(store, letter(1, key="k"))
    await put_behind(store, "k", 2)
    with pytest.raises(DeadLetterError, match="waits behind another one of its key"):
        await choose(store, LetterQuery(ids=(letter(2, key="k").id,)))


async def test_those_that_inboxes_have_forgotten_are_counted(store):
    await parked(store, letter(1), letter(2, parked_at=PARKED_AT + timedelta(days=1)))
    chosen = await choose(store, LetterQuery())
    moments = [PARKED_AT + KEEP_MARKS + timedelta(days=days) for days in (0, 1, 2)]
    assert [await forgotten(store, chosen, moment) for moment in moments] == [0, 1, 2]


class OrderPlaced:
    """Only its name is of interest here."""


READERS = Readers([Reader("payments", "orders", "OrderPlaced", "authorise", OrderPlaced)])


async def test_letters_whose_handler_is_there_may_be_sent_again(store):
    await many_parked(store, 2)
    (await choose(store, LetterQuery())).require_readers(READERS)


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ({"group": "payment"}, "no service of group 'payment' is in these modules; they have payments .*'payments'"),
        ({"topic": "order"}, "'payments' has no handler any more for 'OrderPlaced' from topic 'order'"),
    ],
)
async def test_letters_whose_handler_is_gone_are_refused_with_what_there_is(store, place, told):
    await parked(store, letter(1), letter(2, **place))
    with pytest.raises(DeadLetterError, match=told):
        (await choose(store, LetterQuery())).require_readers(READERS)


def test_an_event_that_nobody_reads_any_more_is_answered_with_those_that_are_read():
    with pytest.raises(
        DeadLetterError, match=r"for 'OrderPlaces'; it reads OrderPlaced .*mean 'OrderPlaced'.*--module"
    ):
        READERS.find("payments", "orders", "OrderPlaces")
    with pytest.raises(DeadLetterError, match="they have none"):
        Readers().find("payments", "orders", "OrderPlaced")
