"""When finished deliveries are settled: soon, in batches, with the dead letters that belong to them."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from time import perf_counter

from antiphon.errors import AntiphonError, LeaseLostError
from antiphon.runtime.health import Pulse
from antiphon.runtime.settlement import finish
from antiphon.runtime.surroundings import FIRST_PAUSE, LONGEST_PAUSE, Surroundings
from antiphon.runtime.window import WAITING
from antiphon.storage.dead_letters import park

log = logging.getLogger("antiphon.runtime")

PACE = timedelta(milliseconds=20)
"""Between two settlements; what finishes meanwhile shares the next one. It is a longest age, never put off."""


class Flusher:
    """Settles what finished outside of transactions, and parks what failed there, at most every `PACE`."""

    def __init__(self, surroundings: Surroundings, settled: asyncio.Event, pulse: Pulse) -> None:
        self._surroundings, self._settled, self._pulse = surroundings, settled, pulse
        self._flushing = asyncio.Lock()

    async def run(self) -> None:
        """Go on until canceled."""
        surroundings = self._surroundings
        pause = FIRST_PAUSE
        while True:
            await surroundings.dirty.wait()
            surroundings.dirty.clear()
            try:
                await self.flush()
                pause = FIRST_PAUSE
            except AntiphonError as error:
                surroundings.instruments.settle_failed(error)
                log.warning("settling failed and is tried again: %s", error)
                surroundings.dirty.set()
                await surroundings.clock.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            else:
                await surroundings.clock.sleep(PACE)

    async def flush(self) -> None:
        """Settle everything that is finished now. On failure nothing is forgotten. At once, they take turns."""
        async with self._flushing:
            await self._flush()

    async def _flush(self) -> None:
        surroundings = self._surroundings
        began = perf_counter()
        if surroundings.parking or surroundings.settling.pending():
            self._pulse.begin()
        if surroundings.parking:
            await self._park()
        if surroundings.settling.pending() and await surroundings.settling.settle():
            surroundings.instruments.settling.observe(perf_counter() - began)
        self._settled.set()
        self._pulse.rest()

    async def _park(self) -> None:
        """Write the dead letters; on a store that the broker shares, in the commit that moves the watermark."""
        surroundings = self._surroundings
        taken = list(surroundings.parking)
        tx = await surroundings.store.begin()
        live = [parked for parked in taken if parked[1].state == WAITING]
        given_up = [delivery for _, delivery in live]
        try:
            await park(tx, [letter for letter, _ in live])
            confirm = await surroundings.settling.settle_in(tx, given_up) if surroundings.shares_store else None
            await tx.commit()
        except BaseException as error:
            await tx.rollback()
            if isinstance(error, LeaseLostError):
                surroundings.lost_lease()
            raise
        del surroundings.parking[: len(taken)]
        if confirm is not None:
            confirm()
        else:
            finish(given_up)
