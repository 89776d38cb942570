"""A running service handles what is sent again, in order, as itself and once."""

from datetime import timedelta

import pytest
from msgspec import Struct

from antiphon import Key, RejectError, Service, Transaction, event
from antiphon.deadletters.choosing import choose, letter_of
from antiphon.deadletters.dropping import drop
from antiphon.deadletters.editing import edit, edited_message
from antiphon.deadletters.redrive import Pace, found_redrive, start_redrive
from antiphon.storage.dead_letters import list_parked
from antiphon.storage.letter_query import LetterQuery
from antiphon.storage.redrives import RedriveStatus
from antiphon.testing import Harness
from tests.unit.deadletters.letters import ADA

A_WHILE = timedelta(minutes=2)
"""In a test's own time a service looks once a minute for what others let go."""


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]
    number: int


@event(topic="payments")
class PaymentTaken(Struct, frozen=True):
    order_id: Key[str]
    number: int


class Shop:
    """A service that rejects certain numbers, with what it was given."""

    def __init__(self, *, with_transaction):
        self.service, self.bad, self.given = Service("payments"), set(), []
        if with_transaction:

            @self.service.on(OrderPlaced)
            async def take(order: OrderPlaced, tx: Transaction) -> PaymentTaken:
                return self.take(order)
        else:

            @self.service.on(OrderPlaced)
            async def take(order: OrderPlaced) -> PaymentTaken:
                return self.take(order)

    def take(self, order):
        self.given.append(order.number)
        if order.number in self.bad:
            raise RejectError(f"{order.number} is bad")
        return PaymentTaken(order.order_id, order.number)


@pytest.fixture(params=[False, True], ids=["plain", "with a transaction"])
async def shop(request):
    shop = Shop(with_transaction=request.param)
    async with Harness(shop.service, raising=False) as shop.harness:
        yield shop


async def redrive(harness, **pace):
    chosen = await choose(harness.store, LetterQuery())
    started = await start_redrive(harness.store, harness.clock, chosen.numbers, Pace(**pace), "ada")
    return started.redrive.id


async def test_a_mended_handler_gets_it_with_its_id_and_what_waited_behind_it_follows(shop):
    harness = shop.harness
    shop.bad = {1}
    await harness.give(*(OrderPlaced("o-1", number) for number in range(4)), OrderPlaced("o-2", 9))
    assert sorted(each.number for each in harness.emitted) == [0, 9]
    (parked,) = await list_parked(harness.store)
    shop.bad = set()
    id = await redrive(harness)
    await harness.advance(A_WHILE)
    assert [each.number for each in harness.emitted if each.order_id == "o-1"] == [0, 1, 2, 3]
    standing = await found_redrive(harness.store, id)
    assert (standing.redrive.status, standing.handled) == (RedriveStatus.DONE, 1)
    assert harness.emitted_messages[-3].causation_id == parked.message.id
    assert await list_parked(harness.store) == []


async def test_an_edited_one_is_handled_as_it_was_edited(shop):
    harness = shop.harness
    shop.bad = {1}
    await harness.give(OrderPlaced("o-1", 1))
    (parked,) = await list_parked(harness.store)
    letter = await letter_of(harness.store, parked.id)
    await edit(harness.store, letter, edited_message(letter, b'{"order_id":"o-1","number":7}', None), ADA)
    await redrive(harness)
    await harness.advance(A_WHILE)
    assert harness.emitted == [PaymentTaken("o-1", 7)]
    assert harness.emitted_messages[0].causation_id == parked.message.id


async def test_one_that_fails_again_is_parked_again_with_what_happened_added(shop):
    harness = shop.harness
    shop.bad = {1}
    await harness.give(OrderPlaced("o-1", 1), OrderPlaced("o-1", 2))
    id = await redrive(harness)
    await harness.advance(A_WHILE)
    (parked,) = await list_parked(harness.store)
    assert [attempt.text for attempt in parked.attempts] == ["1 is bad", "1 is bad"]
    standing = await found_redrive(harness.store, id)
    assert (standing.redrive.status, standing.failed) == (RedriveStatus.DONE, 1)
    assert harness.emitted == []


async def test_a_failing_canary_stops_it_and_nothing_else_is_tried(shop):
    harness = shop.harness
    shop.bad = set(range(20))
    await harness.give(*(OrderPlaced(f"o-{number}", number) for number in range(20)))
    shop.given.clear()
    id = await redrive(harness, spacing=timedelta(), canaries=2)
    await harness.advance(A_WHILE)
    standing = await found_redrive(harness.store, id)
    assert standing.redrive.status is RedriveStatus.STOPPED
    assert len(shop.given) == 2
    assert len(await list_parked(harness.store)) == 20


async def test_letters_come_at_the_pace_that_was_asked(shop):
    harness = shop.harness
    shop.bad = set(range(3))
    await harness.give(*(OrderPlaced(f"o-{number}", number) for number in range(3)))
    shop.bad = set()
    await redrive(harness, spacing=2 * A_WHILE)
    seen = []
    for _ in range(3):
        await harness.advance(A_WHILE)
        seen.append(len(harness.emitted))
        await harness.advance(A_WHILE)
    assert seen == [1, 2, 3]


async def test_what_waited_behind_a_dropped_one_goes_on(shop):
    harness = shop.harness
    shop.bad = {1}
    await harness.give(*(OrderPlaced("o-1", number) for number in range(4)))
    numbers = (await choose(harness.store, LetterQuery())).numbers
    await drop(harness.store, numbers, ADA._replace(time=harness.clock.now()))
    await harness.advance(A_WHILE)
    assert [each.number for each in harness.emitted] == [0, 2, 3]
