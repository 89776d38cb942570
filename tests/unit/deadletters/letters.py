"""Dead letters to be worked with, and a service's side of what was set aside, without a service."""

from datetime import UTC, datetime, timedelta

from antiphon.events.message import Message
from antiphon.storage.dead_letters import DeadLetter, list_parked, park
from antiphon.storage.letter_changes import Author
from antiphon.storage.set_aside import AsideState, Attempt, RetryStore, SetAside, set_aside

PARKED_AT = datetime(2026, 1, 1, tzinfo=UTC)
ADA = Author("ada", PARKED_AT + timedelta(days=1))


def letter(number=1, data=b'{"order_id":"o-1","total":1.50}', *, key=None, **fields):
    message = Message(f"m-{number}", "OrderPlaced", PARKED_AT, data, key, source="shop")
    values = {
        "topic": "orders",
        "partition": 0,
        "position": str(number),
        "service": "payments",
        "handler": "authorise",
        "attempts": (Attempt(PARKED_AT, "ValueError", f"no order {number}", "Traceback ..."),),
        "reason": "ValueError",
        "fingerprint": "a1b2c3d4e5f6",
        "code_version": "1",
        "parked_at": PARKED_AT,
        "lane": key,
    }
    return DeadLetter(message=message, **(values | fields))


async def parked(store, *letters):
    """Park these; returns their numbers, in order."""
    async with store.transaction() as tx:
        await park(tx, letters)
    rows = await store.fetch("select number, id from antiphon_set_aside")
    numbers = {id: number for number, id in rows}
    return [numbers[each.id] for each in letters]


async def many_parked(store, count, **fields):
    return await parked(store, *(letter(number, **fields) for number in range(1, count + 1)))


async def put_behind(store, key, *numbers):
    """Messages of the same key that wait behind it."""
    items = [letter(number, key=key) for number in numbers]
    async with store.transaction() as tx:
        await set_aside(tx, [_aside(each, AsideState.BEHIND) for each in items])


def _aside(each, state, **fields):
    values = {
        "message": each.message,
        "topic": each.topic,
        "partition": each.partition,
        "position": each.position,
        "service": each.service,
        "group": each.group,
        "handler": each.handler,
        "lane": each.lane,
        "state": state,
        "since": each.parked_at,
        "attempts": each.attempts,
    }
    return SetAside(**(values | fields))


class Hands:
    """What a running service does with what is due: claim it, then finish it, or give it up again."""

    def __init__(self, store, clock, group="payments"):
        self.store, self.clock = store, clock
        self.retries = RetryStore(group, "hands", timedelta(seconds=30))

    async def claim(self, limit=1000):
        async with self.store.transaction() as tx:
            return await self.retries.claim(tx, self.clock.now(), limit)

    async def due(self):
        """The ids of the messages that can be handled now; they are in hand then."""
        return [claimed.message.id for claimed in await self.claim()]

    async def finish(self, claimed):
        async with self.store.transaction() as tx:
            await self.retries.finish(tx, [each.number for each in claimed])
            lanes = {(each.topic, each.lane) for each in claimed if each.lane is not None}
            await self.retries.promote(tx, lanes, self.clock.now())

    async def give_up(self, claimed):
        async with self.store.transaction() as tx:
            for each in claimed:
                again = letter(each.message.id, key=each.lane, parked_at=self.clock.now())
                item = _aside(again, AsideState.PARKED, reason="ValueError", fingerprint="f")
                assert await self.retries.again(tx, each.number, item)

    async def handle_all(self):
        """Handle whatever is due; returns the ids of the messages."""
        claimed = await self.claim()
        await self.finish(claimed)
        return [each.message.id for each in claimed]


async def parked_ids(store):
    """The ids of the messages that are parked, in order."""
    return [each.message.id for each in await list_parked(store, limit=10_000)]
