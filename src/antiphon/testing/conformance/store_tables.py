"""What Antiphon's own tables promise on every store, where several processes write at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from msgspec.structs import replace

from antiphon.errors import TransactionConflictError
from antiphon.events.message import Message, Outgoing
from antiphon.storage.database import Database
from antiphon.storage.dead_letters import find
from antiphon.storage.inbox import Inbox
from antiphon.storage.letter_changes import Author, put_edit
from antiphon.storage.letter_query import LetterQuery
from antiphon.storage.redrives import Release, release_letters
from antiphon.storage.schedule import claim_due, schedule
from antiphon.storage.set_aside import AsideState, RetryStore, SetAside, set_aside
from antiphon.testing.conformance.store_suite import StoreSuite

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOLD = timedelta(minutes=1)
T = TypeVar("T")
Claiming = Callable[[Database, str], Awaitable[list[str]]]


class TableConformance(StoreSuite):
    """Two processes that do the same at once: one of them does it."""

    @asynccontextmanager
    async def two(self, database: Database) -> AsyncGenerator[tuple[Database, Database]]:
        """The database as two processes have it."""
        other = self.beside(database)
        await other.open()
        try:
            async with asyncio.timeout(self.patience.total_seconds()):
                yield database, other
        finally:
            await other.close()

    async def test_of_two_who_mark_the_same_messages_each_is_new_to_one(self, database: Database) -> None:
        ids = [f"m{number}" for number in range(50)]

        async def mark(store: Database, ids: Sequence[str]) -> list[str]:
            async with store.transaction() as tx:
                marks = await Inbox("payments").mark(tx, ids, NOW)
                await asyncio.sleep(0)
                return [id for id, is_new in zip(ids, marks, strict=True) if is_new]

        async with self.two(database) as (one, other):
            found = await asyncio.gather(
                *(_again(mark, store, order) for store in (one, other) for order in (ids, ids[::-1]))
            )
        assert sorted(id for new in found for id in new) == sorted(ids)

    async def test_of_many_who_mark_for_the_first_time_nobody_takes_what_is_new_for_handled(
        self, database: Database
    ) -> None:
        """Each finds the consumer without a number, or with the one that another began meanwhile."""

        async def mark(store: Database, what: tuple[str, str]) -> list[str]:
            consumer, id = what
            async with store.transaction() as tx:
                return [id] if await Inbox(consumer).mark(tx, [id], NOW) == [True] else []

        async with self.two(database) as (one, other):
            for consumer in ("payments", "shipping", "letters", "stock", "prices"):
                stores = (one, other, one, other, one, other)
                found = await asyncio.gather(
                    *(_again(mark, store, (consumer, f"m{number}")) for number, store in enumerate(stores))
                )
                assert [len(new) for new in found] == [1] * len(stores)

    async def test_of_two_who_claim_what_is_due_each_message_goes_to_one(self, database: Database) -> None:
        async with database.transaction() as tx:
            await set_aside(tx, [an_item(str(number), f"lane-{number}") for number in range(40)])

        async def claim(store: Database, token: str) -> list[str]:
            async with store.transaction() as tx:
                claimed = await RetryStore("payments", token, HOLD).claim(tx, NOW, 7)
                return [each.message.id for each in claimed]

        await self._share(claim, database, 40)

    async def _share(self, claim: Claiming, database: Database, count: int) -> None:
        """Claim from two processes by turns and at once until nothing is left; each must have come once."""
        found: list[str] = []
        async with self.two(database) as (one, other):
            while len(found) < count:
                both = await asyncio.gather(_again(claim, one, "a"), _again(claim, other, "b"))
                assert any(both)
                found += [id for claimed in both for id in claimed]
        assert sorted(found) == sorted(str(number) for number in range(count))

    async def test_what_goes_behind_a_message_that_is_just_finished_is_not_forgotten(self, database: Database) -> None:
        async with self.two(database) as (one, other):
            for number in range(10):
                await self._finish_while_one_goes_behind(one, other, f"lane-{number}")
                async with database.transaction() as tx:
                    claimed = await RetryStore("payments", "later", HOLD).claim(tx, NOW + HOLD, 10)
                    assert [each.message.id for each in claimed] == [f"lane-{number}-second"]

    async def _finish_while_one_goes_behind(self, one: Database, other: Database, lane: str) -> None:
        retries = RetryStore("payments", "first", HOLD)
        async with one.transaction() as tx:
            await set_aside(tx, [an_item(f"{lane}-first", lane)])
        async with one.transaction() as tx:
            (head,) = await retries.claim(tx, NOW + HOLD, 1)

        async def finish(store: Database, _: str) -> list[str]:
            async with store.transaction() as tx:
                await retries.finish(tx, [head.number])
                await asyncio.sleep(0.02)
                await retries.promote(tx, [("orders", lane)], NOW)
            return []

        async def follow(store: Database, _: str) -> list[str]:
            async with store.transaction() as tx:
                await set_aside(tx, [replace(an_item(f"{lane}-second", lane), state=AsideState.BEHIND)])
                await tx.fetch("select 1")  # until then it may not have been sent
                await asyncio.sleep(0.04)
            return []

        await asyncio.gather(_again(finish, one, ""), _again(follow, other, ""))

    async def test_what_is_parked_at_the_moment_of_its_takeover_stays_parked_and_so_does_what_follows_it(
        self, database: Database
    ) -> None:
        """Its hold is over, so that others may have it; and then who had it says what became of it after all."""
        slow, parked = RetryStore("payments", "slow", HOLD), replace(an_item("head", "lane"), state=AsideState.PARKED)
        async with database.transaction() as tx:
            await set_aside(tx, [an_item("head", "lane"), an_item("behind", "lane")])
        async with database.transaction() as tx:
            head, _ = await slow.claim(tx, NOW, 10)

        async def take_over(store: Database, token: str) -> list[str]:
            async with store.transaction() as tx:
                claimed = await RetryStore("payments", token, HOLD).claim(tx, NOW + 2 * HOLD, 10)
            return [each.message.id for each in claimed]

        async with self.two(database) as (one, other):
            tx = await one.begin()
            assert await slow.again(tx, head.number, parked)
            await tx.fetch("select 1")
            taking = asyncio.create_task(_again(take_over, other, "quick"))
            await asyncio.sleep(0.1)
            await tx.commit()
            assert await taking == []

    async def test_a_letter_that_is_edited_while_it_is_sent_again_is_handled_as_edited(
        self, database: Database
    ) -> None:
        async with database.transaction() as tx:
            await set_aside(tx, [replace(an_item("m1", "lane"), state=AsideState.PARKED)])
        (letter,) = await find(database, LetterQuery(), 1)

        async def send(store: Database, redrive: str) -> list[str]:
            async with store.transaction() as tx:
                await release_letters(tx, redrive, [Release(letter.number, NOW)])
            async with store.transaction() as tx:
                claimed = await RetryStore("payments", "any", HOLD).claim(tx, NOW, 10)
            return [(each.message.data or b"").decode() for each in claimed]

        async with self.two(database) as (one, other):
            tx = await one.begin()
            assert await put_edit(tx, letter, replace(letter.current, data=b"edited"), Author("ada", NOW))
            sending = asyncio.create_task(_again(send, other, "redrive"))
            await asyncio.sleep(0.1)
            await tx.commit()
            assert await sending == ["edited"]

    async def test_of_two_who_claim_what_is_scheduled_each_message_goes_to_one(self, database: Database) -> None:
        outgoing = [Outgoing("orders", a_message(str(number))) for number in range(40)]
        async with database.transaction() as tx:
            await schedule(tx, outgoing, NOW)

        async def claim(store: Database, token: str) -> list[str]:
            async with store.transaction() as tx:
                return [due.id for due in await claim_due(tx, NOW, 7, HOLD, token)]

        await self._share(claim, database, 40)


async def _again(work: Callable[[Database, T], Awaitable[list[str]]], store: Database, what: T) -> list[str]:
    """As whoever redoes what another transaction was in the way of."""
    while True:
        try:
            return await work(store, what)
        except TransactionConflictError:
            await asyncio.sleep(0)


def a_message(id: str) -> Message:
    return Message(id, "OrderPlaced", NOW, b"{}", f"key-{id}")


def an_item(id: str, lane: str) -> SetAside:
    return SetAside(
        message=a_message(id),
        topic="orders",
        partition=0,
        position=id,
        service="payments",
        group="payments",
        handler="authorise",
        lane=lane,
        state=AsideState.DELAYED,
        since=NOW,
        due_at=NOW,
    )
