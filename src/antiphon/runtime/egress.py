"""How events returned without a transaction leave: many to a publish, and only then is a delivery finished."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from antiphon.errors import AccessDeniedError, BrokerError, DataLostError, PublishError, StatementError, StoreError
from antiphon.events.message import Outgoing
from antiphon.runtime.claims import claim_of
from antiphon.runtime.health import Pulse
from antiphon.runtime.surroundings import FIRST_PAUSE, LONGEST_PAUSE, Surroundings, is_passing, reason_of
from antiphon.runtime.window import WAITING
from antiphon.runtime.work import Work, attempt_of

Parcel = tuple[Sequence[Work], Sequence[Outgoing]]
_NO_PARCELS_FAULT = (StoreError, AccessDeniedError, DataLostError)
"""What was returned for some works, which are finished together."""


class Egress:
    """Publishes what handlers returned, in the order they finished; while one publish runs the next one gathers."""

    def __init__(self, surroundings: Surroundings, pulse: Pulse) -> None:
        self._surroundings, self._pulse = surroundings, pulse
        self._parcels: list[Parcel] = []
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def put(self, works: Sequence[Work], outgoing: Sequence[Outgoing]) -> None:
        """Publish `outgoing`, then finish the deliveries. Never waits.

        What leaves with the watermark is kept for it, but for what the watermark has passed long ago.
        """
        bundles = self._surroundings.bundles
        if bundles is not None and works[0].route.with_watermark and claim_of(works[0].delivery) is None:
            bundles.put(works[0], outgoing)
            self._surroundings.dirty.set()
            return
        self._parcels.append((works, outgoing))
        self._idle.clear()
        self._news.set()

    async def run(self) -> None:
        """Go on until canceled."""
        while True:
            await self._news.wait()
            self._news.clear()
            parcels, self._parcels = self._parcels, []
            self._pulse.begin()
            await self._send(parcels)
            self._pulse.rest()
            if not self._parcels:
                self._idle.set()

    def idle(self) -> bool:
        """Whether nothing waits to be published."""
        return self._idle.is_set()

    async def flushed(self) -> None:
        """Return once everything put before has been published or parked."""
        await self._idle.wait()

    async def _send(self, parcels: list[Parcel]) -> None:
        pause = FIRST_PAUSE
        while parcels:
            try:
                parcels = await self._publish(parcels)
            except (BrokerError, StoreError) as error:
                if not is_passing(error):
                    await self._narrow(parcels, error)
                    return
                self._surroundings.waits("publishing what handlers returned waits", error)
                self._pulse.trouble = str(error)
            if parcels:
                await self._surroundings.clock.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    async def _publish(self, parcels: list[Parcel]) -> list[Parcel]:
        """Publish these; returns those to be tried again."""
        surroundings = self._surroundings
        live = [parcel for parcel in parcels if any(work.delivery.state == WAITING for work in parcel[0])]
        outgoing = [one for _, made in live for one in made]
        try:
            if outgoing:
                await surroundings.sending.publish(outgoing)
        except PublishError as error:
            return self._sort_out(live, error)
        for works, _ in live:
            self._finish(works)
        return []

    async def _narrow(self, parcels: Sequence[Parcel], error: BrokerError | StoreError) -> None:
        """Find the parcel that cannot be sent. What takes nothing from us is no parcel's fault: the service stops."""
        if isinstance(error, _NO_PARCELS_FAULT) and not isinstance(error, StatementError):
            raise error
        if len(parcels) == 1:
            self._park(parcels, error)
            return
        for parcel in parcels:
            await self._send([parcel])

    def _finish(self, works: Sequence[Work]) -> None:
        for work in works:
            self._surroundings.finished(work.delivery)

    def _sort_out(self, parcels: list[Parcel], error: PublishError) -> list[Parcel]:
        """Finish what was held whole, park what can never be sent, return the rest."""
        refused = {refusal.message_id: refusal for refusal in error.refusals}
        again: list[Parcel] = []
        for works, made in parcels:
            reasons = [refused[one.message.id] for one in made if one.message.id in refused]
            if not reasons:
                self._finish(works)
            elif all(refusal.retryable for refusal in reasons):
                again.append((works, made))
            else:
                self._park([(works, made)], error)
        return again

    def _park(self, parcels: Sequence[Parcel], error: Exception) -> None:
        asides = self._surroundings.asides
        attempt = attempt_of(error, self._surroundings.clock.now())
        for works, _ in parcels:
            for work in works:
                if work.delivery.state == WAITING:
                    asides.put(work, asides.parked(work, [*work.past, attempt], reason_of(error), error))
