"""How does what many processes do at the same moment come through, as when all of them are started together?"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from antiphon.errors import CommitUnknownError, TransactionConflictError
from antiphon.events.clock import Clock

T = TypeVar("T")

TRIES = 10
FIRST_PAUSE, LONGEST_PAUSE = timedelta(milliseconds=20), timedelta(milliseconds=640)
"""The longest that is waited after the first conflict, twice as long after each further one, and never longer."""


async def persistently(step: Callable[[], Awaitable[T]], clock: Clock) -> T:
    """What `step` gives, begun again where others were in its way, after a while that is longer each time.

    It must be safe to repeat. A connection that was lost at the commit is no reason to give up, either. A store that
    cannot be had is one: that has its own patience. Raises what `step` raises, and what is in its way after `TRIES`.
    """
    longest = FIRST_PAUSE
    for _ in range(TRIES - 1):
        try:
            return await step()
        except (TransactionConflictError, CommitUnknownError):
            # By chance, since with a serializable isolation all but one fail of those that begin together.
            await clock.sleep(longest * random.random())
        longest = min(longest * 2, LONGEST_PAUSE)
    return await step()
