"""How what was set aside comes back: claimed when it is due, and sent through the lanes like any delivery."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from antiphon.brokers.ports import Delivery
from antiphon.errors import StoreError
from antiphon.events.clock import SystemClock
from antiphon.runtime.claims import Claims, LaneRun, deliveries_of, run_of
from antiphon.runtime.route import Route
from antiphon.runtime.surroundings import FIRST_PAUSE, LONGEST_PAUSE, Surroundings, is_passing
from antiphon.runtime.window import RELEASED
from antiphon.runtime.work import Work
from antiphon.storage.set_aside import AsideState, Claimed, SetAside

log = logging.getLogger("antiphon.runtime")

MOST = 2_000
"""Messages in hand at most that were set aside before; beside what was fetched."""
FLOOR = timedelta(milliseconds=250)
"""Between two looks at the store for what others set aside, redrove or let go: other members, and operators."""
UNKNOWN = timedelta(seconds=30)
"""Until what nobody here handles is offered again: a newer process may know it."""

Dispatch = Callable[[Sequence[Work]], None]


class Retrying:
    """Brings back what is due of a consumer's group, a bounded number at a time."""

    def __init__(
        self, surroundings: Surroundings, routes: Mapping[str, Mapping[str, Route]], dispatch: Dispatch
    ) -> None:
        self._surroundings, self._routes, self._dispatch = surroundings, routes, dispatch
        self._claims: Claims = surroundings.settling.claims
        # In a test's own time hours pass in few steps.
        self._floor = FLOOR if isinstance(surroundings.clock, SystemClock) else timedelta(minutes=1)

    async def run(self) -> None:
        """Go on until canceled."""
        pause = FIRST_PAUSE
        while True:
            self._surroundings.set_aside_news.clear()
            try:
                taken = await self.take()
                wait = timedelta() if taken else await self._until_due()
                pause = FIRST_PAUSE
            except StoreError as error:
                if not is_passing(error):
                    raise
                self._surroundings.waits("what is due again waits", error)
                wait, pause = pause, min(pause * 2, LONGEST_PAUSE)
            await self._wait(wait)

    async def has_due(self) -> bool:
        """Whether anything of the group is due, or in anybody's hands."""
        surroundings = self._surroundings
        shut, now = surroundings.gates.shut, surroundings.clock.now()
        found = await self._claims.store.is_due(surroundings.store, now, shut)
        if found:
            surroundings.set_aside_news.set()
        return found

    async def extend(self) -> None:
        """Keep what is in hand, however long that takes; go on until canceled."""
        while True:
            await self._surroundings.clock.sleep(self._claims.hold / 3)
            try:
                await self._claims.extend()
            except StoreError as error:
                self._surroundings.waits("what is tried again here may be taken over", error)

    async def take(self) -> int:
        """Claim and dispatch what is due now; returns how much that was."""
        surroundings, room = self._surroundings, MOST - self._claims.count
        now, shut = surroundings.clock.now(), surroundings.gates.shut
        await self._claims.let_go()
        due = await self._claims.store.next_due(surroundings.store, now, shut)
        if due is None or due > now or room <= 0 or surroundings.draining:
            return 0
        claimed = await self._claims.claim(now, room, shut)
        deliveries = deliveries_of(claimed)
        self._claims.track(deliveries)
        self._send(claimed, deliveries)
        return len(claimed)

    def _send(self, claimed: Sequence[Claimed], deliveries: Sequence[Delivery]) -> None:
        works: list[Work] = []
        stopped: set[LaneRun] = set()
        begun: set[LaneRun] = set()
        for one, delivery in zip(claimed, deliveries, strict=True):
            run = run_of(delivery)
            route = self._routes.get(one.topic, {}).get(one.message.type)
            if route is None and run not in begun and run not in stopped:
                self._put_back(one, delivery)
            elif route is None or run in stopped:
                self._surroundings.admission.went_back()
                delivery.state = RELEASED
            else:
                begun.add(run)
                works.append(Work(delivery, route, one.attempts, one.forgiven, one.is_redriven))
                route.instruments.redriven.inc(one.is_redriven)
            if route is None:
                stopped.add(run)
        self._dispatch(works)

    def _put_back(self, one: Claimed, delivery: Delivery) -> None:
        surroundings, now = self._surroundings, self._surroundings.clock.now()
        log.warning("%s from %s has no handler here; it is offered again in %s", one.message.type, one.topic, UNKNOWN)
        item = SetAside(
            message=one.message,
            topic=one.topic,
            partition=one.partition,
            position=one.position,
            service=surroundings.service,
            group=surroundings.group,
            handler="",
            lane=one.lane,
            state=AsideState.DELAYED,
            since=now,
            due_at=now + UNKNOWN,
            attempts=one.attempts,
            code_version=surroundings.code_version,
        )
        surroundings.shelf.put(delivery, item)

    async def _until_due(self) -> timedelta:
        surroundings = self._surroundings
        now = surroundings.clock.now()
        due = await self._claims.store.next_due(surroundings.store, now, surroundings.gates.shut)
        if due is None or self._claims.count >= MOST:
            return self._floor
        return min(max(due - now, timedelta(milliseconds=1)), self._floor)

    async def _wait(self, longest: timedelta) -> None:
        if longest <= timedelta():
            await asyncio.sleep(0)
            return
        news = asyncio.ensure_future(self._surroundings.set_aside_news.wait())
        sleep = asyncio.ensure_future(self._surroundings.clock.sleep(longest))
        try:
            await asyncio.wait((news, sleep), return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()
            sleep.cancel()
