"""An edit fits what the handler reads or is refused, and the message as it came is never lost."""

from datetime import timedelta
from itertools import pairwise

import pytest
from msgspec import Struct
from msgspec.structs import replace

from antiphon.deadletters.choosing import letter_of
from antiphon.deadletters.editing import edit, edited_message, revert
from antiphon.deadletters.readers import Reader
from antiphon.deadletters.redrive import Pace, start_redrive
from antiphon.errors import DeadLetterError
from antiphon.events.declare import Key, event
from antiphon.storage.dead_letters import StoredLetter
from antiphon.storage.letter_changes import ChangeKind, changes_of
from tests.unit.deadletters.letters import ADA, Hands, letter, parked

GOOD = b'{"order_id":"o-1","total":2}'


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]
    total: float


READER = Reader("payments", "orders", "OrderPlaced", "authorise", OrderPlaced)


def stored(each=None, **fields):
    return StoredLetter(number=1, letter=each or letter(1, key="o-1"), **fields)


def with_message(**fields):
    each = letter(1, key="o-1")
    return stored(replace(each, message=replace(each.message, **fields)))


def test_an_edit_changes_the_data_and_nothing_else_of_the_message():
    before = stored()
    after = edited_message(before, GOOD, READER)
    assert after == replace(before.letter.message, data=GOOD)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b'{"order_id":"o-1"}', "handler 'authorise' of group 'payments' could not read that as OrderPlaced: .*total"),
        (b'{"order_id":"o-1","total":"much"}', "could not read that as OrderPlaced: .*total"),
        (b"{", "could not read that"),
        (b'{"order_id":"o-2","total":1}', "order_id is the key .* would become 'o-2' instead of 'o-1'"),
    ],
)
def test_what_the_handler_could_not_read_is_refused(data, told):
    with pytest.raises(DeadLetterError, match=told):
        edited_message(stored(), data, READER)


def test_a_message_that_could_not_be_read_before_can_be_mended():
    assert edited_message(with_message(data=b"{"), GOOD, READER).data == GOOD


def test_a_key_that_was_given_by_hand_stays_beside_the_datas_own():
    before = with_message(key="by-hand")
    assert edited_message(before, GOOD, READER).key == "by-hand"
    with pytest.raises(DeadLetterError, match="would become 'o-9'"):
        edited_message(before, b'{"order_id":"o-9","total":2}', READER)


def test_a_message_without_a_key_has_none_to_keep():
    assert edited_message(with_message(key=None), b'{"order_id":"o-9","total":2}', READER)


def test_an_event_that_is_newer_than_the_code_cannot_be_checked_by_it():
    newer = with_message(schema_version=2)
    with pytest.raises(DeadLetterError, match="version 2 is newer than version 1"):
        edited_message(newer, GOOD, READER)
    assert edited_message(newer, GOOD, READER._replace(accepts_newer=True)).data == GOOD


def test_unchecked_json_must_be_json_and_other_content_may_be_anything():
    with pytest.raises(DeadLetterError, match="says that it is application/json, and this is not"):
        edited_message(stored(), b"{", None)
    assert edited_message(with_message(content_type="text/plain"), b"{", None).data == b"{"


async def test_the_handler_is_given_what_was_edited_and_both_are_kept(store, clock):
    numbers = await parked(store, letter(1, key="o-1"))
    before = await letter_of(store, letter(1, key="o-1").id)
    await edit(store, before, edited_message(before, GOOD, READER), ADA)
    after = await letter_of(store, before.id)
    assert (after.letter, after.current.data) == (before.letter, GOOD)
    await start_redrive(store, clock, numbers, Pace(), "ada")
    (claimed,) = await Hands(store, clock).claim()
    assert claimed.message == after.edited


async def test_every_edit_is_kept_with_who_when_before_and_after(store):
    await parked(store, letter(1, key="o-1"))
    first = await letter_of(store, letter(1, key="o-1").id)
    await edit(store, first, edited_message(first, GOOD, READER), ADA)
    second = await letter_of(store, first.id)
    await edit(store, second, edited_message(second, GOOD.replace(b"2", b"3"), READER), ADA._replace(by="grace"))
    await revert(store, await letter_of(store, first.id), ADA)
    assert await letter_of(store, first.id) == first
    changes = await changes_of(store, first.id)
    assert [(each.kind, each.by, each.time) for each in changes] == [
        (ChangeKind.EDIT, "ada", ADA.time),
        (ChangeKind.EDIT, "grace", ADA.time),
        (ChangeKind.REVERT, "ada", ADA.time),
    ]
    data = [first.letter.message.data, GOOD, GOOD.replace(b"2", b"3"), first.letter.message.data]
    assert [(each.before.data, each.after.data) for each in changes] == list(pairwise(data))


async def test_an_edit_of_what_somebody_else_edited_since_is_refused(store):
    await parked(store, letter(1, key="o-1"))
    read = await letter_of(store, letter(1, key="o-1").id)
    await edit(store, read, edited_message(read, GOOD, READER), ADA)
    with pytest.raises(DeadLetterError, match="was changed since it was read"):
        await edit(store, read, edited_message(read, GOOD.replace(b"2", b"3"), READER), ADA)
    assert len(await changes_of(store, read.id)) == 1


async def test_what_is_being_redriven_is_not_edited(store, clock):
    numbers = await parked(store, letter(1), letter(2, key="o-1"))
    before = await letter_of(store, letter(2, key="o-1").id)
    edited = edited_message(before, GOOD, READER)
    await start_redrive(store, clock, numbers, Pace(spacing=timedelta(hours=1)), "ada")
    with pytest.raises(DeadLetterError, match="nothing was changed"):
        await edit(store, before, edited, ADA)
    busy = await letter_of(store, before.id)
    with pytest.raises(DeadLetterError, match="is being redriven"):
        edited_message(busy, GOOD, READER)
    assert busy.edited is None


async def test_what_was_never_edited_has_nothing_to_take_back(store):
    await parked(store, letter(1))
    with pytest.raises(DeadLetterError, match="never edited"):
        await revert(store, await letter_of(store, letter(1).id), ADA)
