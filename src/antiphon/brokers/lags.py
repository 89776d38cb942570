"""How far behind are many groups?"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from antiphon.brokers.ports import Broker, Lag

_SIDE_BY_SIDE = 16


async def lags_of(broker: Broker, groups: Collection[str]) -> dict[str, Sequence[Lag]]:
    """The lag of each of these groups, in their order; some are asked about at once, since each may take a while.

    Raises what `Broker.lag` does, and asks about no more then.
    """
    turn = asyncio.Semaphore(_SIDE_BY_SIDE)

    async def ask(group: str) -> Sequence[Lag]:
        async with turn:
            return await broker.lag(group)

    asked = [asyncio.create_task(ask(group)) for group in groups]
    try:
        return dict(zip(groups, await asyncio.gather(*asked), strict=True))
    finally:
        for each in asked:
            each.cancel()
