"""What is set aside is known again at its new place, and what does not come again is not taken for what comes."""

from collections.abc import Sequence
from datetime import UTC, datetime

from antiphon.events.message import Message
from antiphon.storage.database import Database
from antiphon.storage.dead_letters import list_parked
from antiphon.storage.moving import Moved, relocate, set_aside_identities
from antiphon.storage.set_aside import AsideState, SetAside, aside_id, set_aside

NOW = datetime(2026, 3, 1, tzinfo=UTC)
AGAIN = "01a219c8-0000-7000-8000-000000000001"
GONE = "01a219c8-0000-7000-8000-000000000002"


def an_item(id: str, position: str, group: str = "billing", topic: str = "orders") -> SetAside:
    return SetAside(
        message=Message(id, "OrderPlaced", NOW, b"{}", "o1"),
        topic=topic,
        partition=3,
        position=position,
        service="billing",
        group=group,
        handler="bill",
        lane="o1",
        state=AsideState.PARKED,
        since=NOW,
    )


async def keep(store: Database, items: Sequence[SetAside]) -> None:
    async with store.transaction() as tx:
        await set_aside(tx, items)


def places(found):
    return [(letter.message.id, letter.partition, letter.position) for letter in found]


async def test_what_comes_again_gets_its_new_place_and_the_rest_the_name_of_its_broker(database):
    await keep(database, [an_item(GONE, "16"), an_item(AGAIN, "17")])
    moved = Moved("billing", "orders", "embedded", {AGAIN: [(5, "2")]})
    for _ in range(2):
        assert await relocate(database, moved) == 1
        letters = await list_parked(database)
        assert places(letters) == [(GONE, 3, "embedded:16"), (AGAIN, 5, "2")]
    message = letters[1].message
    assert letters[1].id == aside_id(message, "billing", "bill", "orders", 5, "2"), "set aside again it would be twice"


async def test_what_is_set_aside_again_at_its_new_place_is_kept_once(database):
    await keep(database, [an_item(AGAIN, "17")])
    await relocate(database, Moved("billing", "orders", "embedded", {AGAIN: [(3, "2")]}))
    await keep(database, [an_item(AGAIN, "2")])
    assert places(await list_parked(database)) == [(AGAIN, 3, "2")]


async def test_of_a_message_that_came_twice_each_copy_gets_a_place(database):
    await keep(database, [an_item(AGAIN, "17"), an_item(AGAIN, "18"), an_item(AGAIN, "19")])
    assert await relocate(database, Moved("billing", "orders", "embedded", {AGAIN: [(3, "1"), (3, "4")]})) == 2
    assert [position for _, _, position in places(await list_parked(database))] == ["1", "4", "embedded:19"]


async def test_other_groups_and_topics_stay_as_they_are(database):
    await keep(database, [an_item(AGAIN, "17", "counting"), an_item(AGAIN, "17", topic="bills")])
    await relocate(database, Moved("billing", "orders", "embedded", {AGAIN: [(3, "1")]}))
    assert {position for _, _, position in places(await list_parked(database))} == {"17"}
    assert await set_aside_identities(database, "counting", "orders") == [AGAIN]
    assert await set_aside_identities(database, "billing", "orders") == []
