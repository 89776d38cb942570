"""How do messages that the server sends one by one leave together?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

OF_QUEUES, OF_STREAMS = 0.0005, 0.002
"""Seconds within which the next one comes, if more are on their way. What is published to a stream together the server
writes in pieces, of which the first is short.
"""
_LONGEST = 0.01


async def gather(count: Callable[[], int], limit: int, moment: float) -> None:
    """Return when what is on its way has come, or enough of it; at once where nothing has come yet."""
    found = count()
    for _ in range(int(_LONGEST / moment)) if 0 < found < limit else ():
        before = found
        await asyncio.sleep(moment)
        found = count()
        if found == before or found >= limit:
            return
