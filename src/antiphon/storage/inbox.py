"""Was this message handled before? A mark for each, written in the transaction of what the handler did."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from antiphon.storage.database import Database, Transaction
from antiphon.storage.queries import load_queries
from antiphon.storage.texts import kept

KEEP_MARKS = timedelta(days=7)
"""How long a mark is kept: a message that comes again later than that is handled again."""

_SQL = load_queries("antiphon.storage", "sql/inbox.sql")


class Inbox:
    """One consumer's marks. The same id may be marked by many consumers, once by each.

    Whoever marks must do so in the transaction in which the handlers write: a mark without the effect loses a
    message, an effect without the mark doubles it.
    """

    def __init__(self, consumer: str) -> None:
        self.consumer = consumer
        self._walked_to = ""

    async def mark(self, tx: Transaction, ids: Sequence[str], now: datetime) -> list[bool]:
        """Mark each id; True where it is new, False where it was marked before, be it earlier in `ids`.

        One statement, however many ids there are, where any is new. `now` is what retention counts from.
        """
        wanted = [kept(id) for id in ids]
        unclaimed = await self._mark(tx, wanted, now)
        if not unclaimed and wanted:
            # All known, or the consumer had no number yet. Whether it has one now tells nothing: another process may
            # have begun it between the two statements, and these would pass for handled.
            await self._number(tx)
            unclaimed = await self._mark(tx, wanted, now)
        marks: list[bool] = []
        for id in wanted:
            marks.append(id in unclaimed)
            unclaimed.discard(id)
        return marks

    async def _mark(self, tx: Transaction, ids: Sequence[str], now: datetime) -> set[str]:
        return set(await tx.fetch(_SQL["mark"], self.consumer, int(now.timestamp()), _json(ids), row=str))

    async def known(self, store: Database | Transaction, ids: Sequence[str]) -> list[bool]:
        """Which of these are marked; marks nothing."""
        wanted = [kept(id) for id in ids]
        marked = set(await store.fetch(_SQL["known"], self.consumer, _json(wanted), row=str))
        return [id in marked for id in wanted]

    async def forget(self, tx: Transaction, ids: Sequence[str]) -> None:
        """Take the marks back, so that these messages are handled when they come again."""
        await tx.execute(_SQL["forget"], await self._number(tx), _json([kept(id) for id in ids]))

    async def begin_generation(self, tx: Transaction) -> None:
        """Begin a rerun: from the commit on every message counts as new again."""
        await self._number(tx)
        await tx.execute(_SQL["begin_generation"], self.consumer)
        self._walked_to = ""

    async def expire(self, tx: Transaction, before: datetime, limit: int = 1000) -> bool:
        """Delete marks made before that moment, looking at no more than `limit` of them; True when all were seen.

        Call it again, each time in a transaction of its own, until it is; then the next call begins anew. Marks
        of past generations go whatever their age. There is no index on the age, which every mark would pay for.
        """
        for (number,) in await tx.fetch(_SQL["past_numbers"], self.consumer):
            await tx.execute(_SQL["delete_past"], number, limit)
            if await tx.fetch_one(_SQL["has_marks"], number) == (1,):
                return False
            await tx.execute(_SQL["end_generation"], number)
        return await self._expire_step(tx, await self._number(tx), int(before.timestamp()), limit)

    async def _expire_step(self, tx: Transaction, number: int, before: int, limit: int) -> bool:
        after = self._walked_to
        last = await tx.fetch_one(_SQL["step"], number, after, limit - 1, row=str)
        if last is None:
            await tx.execute(_SQL["delete_old_to_end"], number, after, before)
        else:
            await tx.execute(_SQL["delete_old"], number, after, last, before)
        self._walked_to = last or ""
        return last is None

    async def _number(self, tx: Transaction) -> int:
        # Never remembered: a rerun begun by another process must hold from its commit on.
        number = await tx.fetch_one(_SQL["number"], self.consumer, row=int)
        if number is not None:
            return number
        # The first one by its number: the next one after whatever another process began meanwhile would hide its marks.
        await tx.execute(_SQL["begin_first"], self.consumer)
        return await self._number(tx)


def _json(ids: Sequence[str]) -> str:
    return msgspec.json.encode(ids).decode()
