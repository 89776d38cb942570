"""What a broker keeps of rejected messages is seen with all the rest, and moves there when something is done to it."""

from datetime import timedelta

import pytest

from antiphon.brokers.memory import MemoryBroker
from antiphon.brokers.ports import Outcome, Settlement
from antiphon.deadletters.choosing import choose
from antiphon.deadletters.diagnosis import with_diagnosis
from antiphon.deadletters.dropping import drop
from antiphon.deadletters.native import adopt, fits, native_letters, native_of
from antiphon.deadletters.redrive import Pace, start_redrive
from antiphon.errors import UnsupportedCapabilityError
from antiphon.events.message import Outgoing
from antiphon.storage.dead_letters import list_parked
from antiphon.storage.letter_query import LetterQuery
from tests.unit.deadletters.letters import ADA, PARKED_AT, Hands, letter, parked_ids

ALL = LetterQuery()


@pytest.fixture
async def broker(clock):
    broker = MemoryBroker("queue", clock=clock)
    await broker.open()
    yield broker
    await broker.close()
    await broker.database.close()


async def rejected(broker, *messages, group="payments"):
    """Let a member of `group` reject these."""
    member = await broker.subscribe(group, ["orders"])
    await broker.publish([Outgoing("orders", message) for message in messages])
    deliveries = await member.fetch(100, 1 << 20, timedelta())
    await member.settle([Settlement(delivery, Outcome("reject")) for delivery in deliveries])
    await member.close()


def ids(letters):
    return [each.message.id for each in letters]


async def test_they_are_listed_with_their_diagnosis_where_they_bring_one(broker):
    diagnosed, bare = letter(1, key="k"), letter(2).message
    await rejected(broker, with_diagnosis(diagnosed), bare)
    first, second = await native_letters(broker, ALL, 10)
    assert first == diagnosed
    assert (second.message, second.group, second.reason, second.parked_at) == (bare, "payments", "rejected", bare.time)
    assert await list_parked(broker.database) == []


async def test_they_are_chosen_like_all_others(broker):
    await rejected(broker, *(letter(number).message for number in range(1, 4)))
    await rejected(broker, letter(4).message, group="mail")
    assert ids(await native_letters(broker, LetterQuery(group="mail"), 10)) == ["m-4"]
    assert ids(await native_letters(broker, LetterQuery(message="m-2"), 10)) == ["m-2"]
    assert len(await native_letters(broker, ALL, 2)) == 2
    assert await native_letters(broker, LetterQuery(group="nobody"), 10) == []


async def test_one_is_found_by_the_beginning_of_its_id(broker):
    await rejected(broker, letter(1).message, letter(2).message)
    (first, _) = await native_letters(broker, ALL, 10)
    assert await native_of(broker, first.id) == first
    assert await native_of(broker, "00000000") is None


async def test_those_that_fit_move_to_the_others_and_the_rest_stays(broker, clock):
    await rejected(broker, *(letter(number).message for number in range(1, 4)))
    assert await adopt(broker, broker.database, LetterQuery(message="m-2")) == 1
    assert await parked_ids(broker.database) == ["m-2"]
    assert ids(await native_letters(broker, ALL, 10)) == ["m-1", "m-3"]
    assert await adopt(broker, broker.database, ALL) == 2
    assert await parked_ids(broker.database) == ["m-2", "m-1", "m-3"]


async def test_redriven_they_come_to_their_group_with_their_ids(broker, clock):
    await rejected(broker, letter(1).message)
    await adopt(broker, broker.database, ALL)
    chosen = await choose(broker.database, ALL)
    await start_redrive(broker.database, clock, chosen.numbers, Pace(), "ada")
    assert await Hands(broker.database, clock).handle_all() == ["m-1"]
    assert await native_letters(broker, ALL, 10) == []


async def test_dropped_they_are_gone_from_the_broker(broker):
    await rejected(broker, letter(1).message)
    await adopt(broker, broker.database, ALL)
    await drop(broker.database, (await choose(broker.database, ALL)).numbers, ADA)
    assert await native_letters(broker, ALL, 10) == []
    assert await parked_ids(broker.database) == []


class Dying(MemoryBroker):
    """Its process dies before anything is settled."""

    async def settle_dead_letters(self, settlements):
        raise KeyboardInterrupt


async def test_a_crash_on_the_way_leaves_it_in_both_places_and_repeating_makes_it_one(clock):
    broker = Dying("queue", clock=clock, hold=timedelta(seconds=5))
    await broker.open()
    await rejected(broker, letter(1).message)
    with pytest.raises(KeyboardInterrupt):
        await adopt(broker, broker.database, ALL)
    assert await parked_ids(broker.database) == ids(await native_letters(broker, ALL, 10)) == ["m-1"]
    await clock.advance(timedelta(seconds=6))
    broker.settle_dead_letters = MemoryBroker.settle_dead_letters.__get__(broker)
    assert await adopt(broker, broker.database, ALL) == 1
    assert await parked_ids(broker.database) == ["m-1"]
    assert await native_letters(broker, ALL, 10) == []
    await broker.close()
    await broker.database.close()


async def test_a_broker_that_keeps_none_has_none(clock):
    broker = MemoryBroker(clock=clock)
    await broker.open()
    assert await native_letters(broker, ALL, 10) == ()
    assert await adopt(broker, broker.database, ALL) == 0
    with pytest.raises(UnsupportedCapabilityError):
        await broker.read_dead_letters("payments", 10)
    await broker.close()
    await broker.database.close()


@pytest.mark.parametrize(
    ("query", "is_meant"),
    [
        (ALL, True),
        (LetterQuery(handler="authorise", topic="orders", key="k", type="OrderPlaced", reason="ValueError"), True),
        (LetterQuery(fingerprint="a1b2c3d4e5f6", message="m-1", text="NO ORDER 1"), True),
        (LetterQuery(since=PARKED_AT, until=PARKED_AT + timedelta(seconds=1)), True),
        (LetterQuery(ids=(letter(1, key="k").id[:20].upper(),)), True),
        (LetterQuery(handler="other"), False),
        (LetterQuery(key="other"), False),
        (LetterQuery(tenant="t"), False),
        (LetterQuery(text="no order 2"), False),
        (LetterQuery(until=PARKED_AT), False),
        (LetterQuery(since=PARKED_AT + timedelta(microseconds=1)), False),
        (LetterQuery(ids=("ffffffff",)), False),
    ],
)
def test_a_question_is_answered_as_the_store_would(query, is_meant):
    assert fits(query, letter(1, key="k")) is is_meant
