"""Which stores of a service are away, and since when: one voice for all that wait for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta

from antiphon.errors import AntiphonError, CommitUnknownError, StoreUnavailableError
from antiphon.events.clock import Clock
from antiphon.observability.repeats import RepeatLimit
from antiphon.runtime.health import Outage, ServiceHealth
from antiphon.storage.database import Database

FIRST_PAUSE = timedelta(milliseconds=50)
LONGEST_PAUSE = timedelta(seconds=1)
"""Between two questions to a store that is away whether it is back."""


class Outages:
    """Tells once that a store is gone and once that it is back, however many wait for it, and lets probes know.

    Whoever cannot reach a store says so by `is_told`. From then on the store is asked here until it answers.
    """

    def __init__(self, health: ServiceHealth, stores: Sequence[Database], clock: Clock) -> None:
        self._health, self._clock = health, clock
        self._stores = {id(store): store for store in stores}
        self._log = logging.getLogger(f"antiphon.service.{health.service}")
        self._repeats = RepeatLimit(monotonic=clock.monotonic)
        self._watching: dict[int, asyncio.Task[None]] = {}
        self._is_over = False

    def is_told(self, error: BaseException) -> bool:
        """Note why something waits; says whether that is told here, so that nobody else needs to. Cheap."""
        if self._is_over or not isinstance(error, StoreUnavailableError):
            return False
        for key, store in self._stores.items():
            if key not in self._watching:
                self._watching[key] = asyncio.create_task(self._watch(key, store, error), name="antiphon outage")
        return True

    async def stop(self) -> None:
        """Ask no more. Twice is safe."""
        self._is_over = True
        tasks = [*self._watching.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, key: int, store: Database, noticed: StoreUnavailableError) -> None:
        try:
            # With two stores the error does not say whose it is: the other one may well be there.
            found = noticed if len(self._stores) == 1 else await _trouble(store)
            if found is not None:
                await self._tell(store, found)
        finally:
            del self._watching[key]

    async def _tell(self, store: Database, found: AntiphonError) -> None:
        began = self._clock.monotonic()
        self._health.away[store.url] = Outage(began, str(found))
        left_out = self._repeats.admit(store.url)
        if left_out is not None:
            extra = {"repeats": left_out}
            self._log.warning("the store %s is gone, and what needs it waits: %s", store.url, found, extra=extra)
        try:
            await self._wait_for(store, began, str(found))
        finally:
            self._health.away.pop(store.url, None)
        if left_out is not None:
            self._log.info("the store %s is back after %.1f s", store.url, self._clock.monotonic() - began)

    async def _wait_for(self, store: Database, began: float, told: str) -> None:
        pause = FIRST_PAUSE
        while (found := await _trouble(store)) is not None:
            if str(found) != told:  # it was cut, and now it does not let us in
                told = str(found)
                self._health.away[store.url] = Outage(began, told)
                if self._repeats.admit(told) is not None:
                    self._log.warning("the store %s is still gone: %s", store.url, told)
            await self._clock.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)


async def _trouble(store: Database) -> AntiphonError | None:
    """Why nobody can write to it now; None where it answers, whatever it says."""
    try:
        async with store.transaction() as tx:
            await tx.fetch("select 1")
    except (StoreUnavailableError, CommitUnknownError) as error:
        return error
    except AntiphonError:
        return None
    return None
