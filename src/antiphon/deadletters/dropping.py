"""How are dead letters given up for good, so that what waited behind them goes on, and nothing is lost unseen?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from antiphon.deadletters.turns import in_turn
from antiphon.errors import DeadLetterError
from antiphon.storage.database import Database, Transaction
from antiphon.storage.letter_changes import Author, drop_letters
from antiphon.storage.redrives import leave_redrives, taken_already

_AT_ONCE = 500
"""Letters dropped in one transaction, at most, since everyone who writes waits for it."""


async def drop(store: Database, numbers: Sequence[int], author: Author) -> int:
    """Drop these dead letters; each leaves a note with its whole message, and what waits behind it is due now.

    Raises DeadLetterError, with none dropped, when one of them is no dead letter any more or is being redriven. When
    that happens to one while others are dropped, it and those dropped with it are left; returns how many were dropped.
    """
    if taken := await taken_already(store, numbers):
        raise DeadLetterError(
            f"{taken} of {len(numbers)} letters are being redriven, or are no dead letters any more: nothing was "
            "dropped; choose them again"
        )
    parts = [numbers[start : start + _AT_ONCE] for start in range(0, len(numbers), _AT_ONCE)]
    return sum([await in_turn(store, partial(_drop, numbers=part, author=author)) for part in parts])


async def _drop(tx: Transaction, numbers: Sequence[int], author: Author) -> int:
    if await taken_already(tx, numbers):
        return 0
    await leave_redrives(tx, numbers)
    await drop_letters(tx, numbers, author)
    return len(numbers)
