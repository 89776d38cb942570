"""How does one change come through, among many who change what is set aside at the same moment?"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from antiphon.errors import TransactionConflictError
from antiphon.storage.database import Database, Transaction
from antiphon.storage.set_aside import take_turn, turn_first

T = TypeVar("T")
TRIES = 5


async def in_turn(store: Database, work: Callable[[Transaction], Awaitable[T]]) -> T:
    """What `work` gives, done in one transaction that has its turn; and again, when others were in the way of it.

    Raises what `work` raises, StoreError, and TransactionConflictError when others were in the way `TRIES` times.
    """
    for _ in range(TRIES - 1):
        with suppress(TransactionConflictError):
            return await _once(store, work)
    return await _once(store, work)


async def _once(store: Database, work: Callable[[Transaction], Awaitable[T]]) -> T:
    async with turn_first(store) as tx:
        await take_turn(tx)
        return await work(tx)
