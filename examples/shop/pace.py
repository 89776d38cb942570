"""When may the next orders be placed, and has everything come to rest?"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter

from examples.shop.chaos import Chaos
from examples.shop.processes import Processes
from examples.shop.storefront.feed import Storefront
from examples.shop.watch import Lags, Watch

MOST_UNDER_WAY = 1_500
"""Orders that may be on their way at once; beyond that the storefront waits for room."""
TICK_SECONDS = 0.05
STALLED_SECONDS = 40.0


class StalledError(Exception):
    """Nothing moves any more, though something is left to do; the text says what."""


class Pace:
    """Waits for the services on behalf of the storefront, and gives up when they stand still."""

    def __init__(self, storefront: Storefront, watch: Watch, lags: Lags, processes: Processes) -> None:
        self._storefront, self._watch, self._lags, self._processes = storefront, watch, lags, processes
        self._standing: tuple[object, ...] = ()
        self._since = perf_counter()

    async def until_room(self, quota: int, chaos: Chaos | None) -> int:
        """Return when orders may be placed, and how many: of `quota` no more than the kills allow, few at once."""
        room = 0

        async def has_room() -> bool:
            nonlocal room
            allowed = quota if chaos is None or chaos.is_enough else int((quota - 1) * chaos.share)
            under_way = self._storefront.placed - self._watch.ended
            room = min(allowed - self._storefront.placed, MOST_UNDER_WAY - under_way)
            return room > 0

        await self.until(has_room)
        return room

    async def until_quiet(self) -> None:
        """Return when everything that was published is handled, second clicks included."""

        async def is_quiet() -> bool:
            if not await self._lags.look():
                return False
            return await self._storefront.click_again(all_of_them=True) == 0

        await self.until(is_quiet)

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Look at the shop until something holds. Raises StalledError, and ServiceFailedError when a service ended."""
        while True:
            await self._watch.look()
            if self._processes.failure.done():
                self._processes.failure.result()
            if await holds():
                return
            await self._storefront.click_again()
            self._check_movement()
            await asyncio.sleep(TICK_SECONDS)

    def _check_movement(self) -> None:
        watch, now = self._watch, perf_counter()
        standing = (self._storefront.placed, watch.states.total(), watch.payments.total(), str(self._lags.behind))
        if standing != self._standing:
            self._standing, self._since = standing, now
        elif now - self._since > STALLED_SECONDS:
            states = ", ".join(f"{count} {state}" for state, count in watch.states.items()) or "none"
            behind = ", ".join(f"{service} {count}" for service, count in self._lags.behind.items() if count)
            raise StalledError(
                f"nothing moved for {STALLED_SECONDS:.0f} s: {self._storefront.placed} orders placed, {watch.ended} "
                f"ended; states entered: {states}; messages not handled yet: {behind or 'none'}"
            )
