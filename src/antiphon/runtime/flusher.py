"""When finished deliveries are settled: soon, in batches, with what is set aside of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from datetime import timedelta
from time import perf_counter

from antiphon.brokers.ports import Delivery
from antiphon.deadletters.diagnosis import with_diagnosis
from antiphon.errors import AntiphonError, LeaseLostError, PublishError
from antiphon.events.message import Outgoing
from antiphon.runtime.health import Pulse
from antiphon.runtime.shelf import Put
from antiphon.runtime.surroundings import FIRST_PAUSE, LONGEST_PAUSE, Surroundings
from antiphon.runtime.suspicion import CRASH, suspect_of
from antiphon.storage.database import Transaction
from antiphon.storage.dead_letters import letter_of
from antiphon.storage.set_aside import AsideState, turn_first

log = logging.getLogger("antiphon.runtime")

PACE = timedelta(milliseconds=20)
"""Between two settlements; what finishes meanwhile shares the next one. It is a longest age, never put off."""


class Flusher:
    """Settles what finished outside of transactions, and sets aside what failed there, at most every `PACE`."""

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
                surroundings.waits("settling failed and is tried again", error)
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
        if surroundings.shelf or surroundings.settling.pending():
            self._pulse.begin()
        if surroundings.shelf:
            await self._set_aside()
        if surroundings.settling.pending() and await surroundings.settling.settle():
            surroundings.instruments.settling.observe(perf_counter() - began)
        self._settled.set()
        self._pulse.rest()

    async def _set_aside(self) -> None:
        """Write what was shelved; on a store that the broker shares, in the commit that moves the watermark."""
        surroundings = self._surroundings
        shelf = surroundings.shelf
        taken = len(shelf)
        elsewhere = await self._hand_over(shelf.gathered(taken))
        try:
            async with turn_first(surroundings.store) as tx:
                puts = shelf.gathered(taken)
                moved = await shelf.write(tx, [put for put in puts if put[0] not in elsewhere])
                confirm = await surroundings.settling.settle_in(tx, [delivery for delivery, _ in puts], moved)
                if surroundings.bundles is not None:
                    await surroundings.bundles.mark(tx, [put[0] for put in puts if put[0] not in moved])
                pardoned = await self._forgive(tx, puts)
        except LeaseLostError:
            surroundings.lost_lease()
            raise
        surroundings.suspicion.pardoned(pardoned)
        shelf.written(taken, puts)
        confirm()
        surroundings.set_aside_news.set()

    async def _forgive(self, tx: Transaction, puts: Sequence[Put]) -> Sequence[str]:
        """Forget what would keep these from being handled when they come again: marks made first, and deaths.

        Returns whose deaths are forgotten. Apart from this commit, a crash between runs one twice, or never parks it.
        """
        surroundings = self._surroundings
        marked = surroundings.shelf.marked(puts)
        if marked and surroundings.inbox is not None:
            await surroundings.inbox.forget(tx, marked)
        condemned = [suspect_of(delivery.message) for delivery, item in puts if item.reason == CRASH]
        await surroundings.suspicion.pardon(tx, condemned)
        return condemned

    async def _hand_over(self, puts: Sequence[Put]) -> Collection[Delivery]:
        """Write what is parked into the broker's own queue, where that is to keep it; returns what it keeps.

        What it refuses, as too large with its diagnosis, rests in the store like everybody else's.
        """
        surroundings = self._surroundings
        parked = [put for put in puts if put[1].state is AsideState.PARKED]
        if not parked or surroundings.dead_letters is None:
            return ()
        refused: set[str] = set()
        try:
            kept = [Outgoing(item.topic, with_diagnosis(letter_of(item))) for _, item in parked]
            await surroundings.dead_letters.write_dead_letters(surroundings.group, kept)
        except PublishError as error:
            log.warning("the broker does not keep all dead letters: %s; the store does", error)
            refused = {refusal.message_id for refusal in error.refusals}
        return {delivery for delivery, item in parked if item.message.id not in refused}
