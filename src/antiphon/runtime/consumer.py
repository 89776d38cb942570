"""How one service consumes: fetch within bounds, dispatch to lanes, settle, and drain in a fixed order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from datetime import timedelta
from functools import partial
from itertools import groupby
from operator import attrgetter
from types import MappingProxyType

from msgspec import Struct

from antiphon.brokers.ports import Delivery, LogSubscription, NoticeKind, Partition, Subscription
from antiphon.errors import AntiphonError, BrokerError, PositionLostError, StoreError
from antiphon.runtime.awaiting import AwaitExecutor, ThreadExecutor
from antiphon.runtime.control import Control
from antiphon.runtime.egress import Egress
from antiphon.runtime.flusher import Flusher
from antiphon.runtime.health import ServiceHealth
from antiphon.runtime.lanes import Executor, Lanes, cancel, warn_of_stubborn
from antiphon.runtime.owning import OwnTransaction
from antiphon.runtime.owning_session import SessionAttempt
from antiphon.runtime.retrying import Retrying
from antiphon.runtime.route import Mode, Route
from antiphon.runtime.settlement import QueueSettling
from antiphon.runtime.shared import SharedTransaction, TransactionBounds
from antiphon.runtime.surroundings import FIRST_PAUSE, LONGEST_PAUSE, Surroundings, is_passing
from antiphon.runtime.unread import Unread
from antiphon.runtime.verdicts import Verdicts
from antiphon.runtime.window import WAITING
from antiphon.runtime.work import Work

log = logging.getLogger("antiphon.runtime")

Routes = Mapping[str, Mapping[str, Route]]
"""By topic, then by name of the event."""


_NO_ROUTES: Mapping[str, Route] = MappingProxyType({})
_TOPIC_OF = attrgetter("partition.topic")


class Bounds(Struct, frozen=True, kw_only=True):
    """How much a consumer holds at once, and how patient it is."""

    messages: int
    bytes: int
    fetch: int
    drain: timedelta
    concurrency: int
    transaction: TransactionBounds
    wait: timedelta = timedelta(seconds=1)


class Consumer:
    """The consuming side of a running service."""

    def __init__(
        self,
        subscription: Subscription,
        routes: Routes,
        surroundings: Surroundings,
        bounds: Bounds,
        health: ServiceHealth,
    ) -> None:
        self._subscription, self._routes = subscription, routes
        self._log = subscription if isinstance(subscription, LogSubscription) else None
        self._surroundings, self._bounds = surroundings, bounds
        self._health = health
        self._settled = asyncio.Event()
        self._egress = Egress(surroundings, health.publishing)
        self._flusher = Flusher(surroundings, self._settled, health.settling)
        verdicts, chance = Verdicts(surroundings, surroundings.chance.draw), surroundings.chance
        self._shared = SharedTransaction(surroundings, verdicts, bounds.transaction, health.committing)
        awaiting = AwaitExecutor(surroundings, self._egress, verdicts)
        self._own = [OwnTransaction(surroundings, verdicts), OwnTransaction(surroundings, verdicts, SessionAttempt)]
        executors: dict[Mode, Executor] = {
            Mode.AWAIT: awaiting,
            Mode.THREAD: ThreadExecutor(surroundings, awaiting),
            Mode.SHARED: self._shared,
            Mode.OWN: self._own[0],
            Mode.SESSION: self._own[1],
        }
        modes = {route.mode for by_type in routes.values() for route in by_type.values()}
        lanes = 1 if modes <= {Mode.SHARED} else bounds.concurrency
        self._lanes = Lanes(lanes, executors, surroundings.suspicion, surroundings.clock, chance.lane_of)
        self._unread = Unread(surroundings)
        self._retrying = Retrying(surroundings, routes, self._lanes.dispatch)
        self.control = Control(surroundings)
        surroundings.status_parts.append(self._status)
        self._fetching: asyncio.Task[None] | None = None
        self._collecting: asyncio.Task[None]
        self._reclaiming: asyncio.Task[None]
        self._background: list[asyncio.Task[None]] = []
        self._draining: asyncio.Task[None] | None = None
        self.failure: BaseException | None = None
        self.failed = asyncio.Event()
        surroundings.take_notices = self._take_notices
        surroundings.is_ending = self._lanes.is_ending = self._is_ending
        surroundings.instruments.watch(surroundings.settling, surroundings.pauses)
        surroundings.gates.shut_topic = subscription.pause_topic
        surroundings.gates.open_topic = self._open_topic
        surroundings.pauses.again = self._lanes.dispatch

    def start(self) -> None:
        """Begin to fetch and handle."""
        self._lanes.start(self._fail)
        self._collecting = self._watched(self._shared.collect())
        retrying, gates = self._retrying, self._surroundings.gates
        answers = self._surroundings.answers
        for work in (
            self._egress.run(),
            self._flusher.run(),
            gates.run(),
            retrying.extend(),
            self.control.run(),
            answers.run(),
        ):
            self._background.append(self._watched(work))
        if isinstance(queue := self._surroundings.settling.broker, QueueSettling):
            self._background.append(self._watched(self._extend(queue)))
        self._reclaiming = self._watched(retrying.run())
        self._fetching = self._watched(self._fetch())

    def _open_topic(self, topic: str) -> None:
        self._subscription.resume_topic(topic)
        self._surroundings.set_aside_news.set()

    def _watched(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        task.add_done_callback(lambda task: None if task.cancelled() or not (e := task.exception()) else self._fail(e))
        return task

    def _fail(self, error: BaseException) -> None:
        """A fault that no policy covers: the service stops with it rather than going on half.

        It drains, so that others of its group get what it holds, whether or not anybody waits for it here.
        """
        if self.failure is None:
            self.failure = error
            self._health.state = "failed"
            log.critical("consuming stopped: %s", error, exc_info=None if isinstance(error, AntiphonError) else error)
        self.failed.set()
        self._begin_drain()

    async def _fetch(self) -> None:
        bounds = self._bounds
        pause = FIRST_PAUSE
        self._health.fetching.begin()
        while True:
            room, space = self._room()
            if room <= 0 or space <= 0:
                await self._wait_for_room()
                continue
            try:
                deliveries = await self._subscription.fetch(min(room, bounds.fetch), space, bounds.wait)
            except (BrokerError, StoreError) as error:
                if isinstance(error, PositionLostError) or not is_passing(error):
                    raise
                self._surroundings.instruments.fetch_failed(error)
                self._surroundings.waits("fetching failed and is tried again", error)
                self._health.fetching.trouble = str(error)
                await self._surroundings.clock.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            pause = FIRST_PAUSE
            self._health.fetching.beat()
            has_gained = self._take_notices()
            if deliveries:  # before anything is waited for: a loss that is noticed meanwhile concerns these, too
                self._surroundings.settling.broker.track(deliveries)
            if has_gained:
                await self._surroundings.patiently(self._surroundings.suspicion.look)
            if deliveries:
                await self._look_at(deliveries)
                self._dispatch([delivery for delivery in deliveries if delivery.state == WAITING])

    async def _look_at(self, deliveries: Sequence[Delivery]) -> None:
        """Learn from the store what it knows of these."""
        surroundings = self._surroundings
        await surroundings.patiently(partial(surroundings.blocks.look, deliveries))
        if surroundings.bundles is not None:
            await surroundings.patiently(partial(surroundings.bundles.recognize, deliveries))
            surroundings.dirty.set()

    def _room(self) -> tuple[int, int]:
        """How many more messages, and bytes of data, may be fetched now."""
        bounds, settling, pauses = self._bounds, self._surroundings.settling, self._surroundings.pauses
        held, size = pauses.extent() if pauses else (0, 0)
        room = bounds.messages + min(held, bounds.messages) - settling.count
        return room, bounds.bytes + min(size, bounds.bytes) - settling.bytes

    async def _wait_for_room(self) -> None:
        """Fetching pauses; membership and leases are kept by the subscription itself."""
        self._settled.clear()
        self._surroundings.instruments.waits_for_room.inc()
        self._surroundings.dirty.set()
        self._health.fetching.rest()
        await self._settled.wait()
        self._health.fetching.begin()

    def _take_notices(self) -> bool:
        """Learn what is ours now; says whether we gained something, maybe of one that died."""
        notices = () if self._log is None else self._log.notices()
        if not notices:
            return False
        for notice in notices:
            self._surroundings.instruments.rebalanced(notice.kind.value)
            log.info("%s: %s", notice.kind.value, ", ".join(f"{p.topic}/{p.number}" for p in notice.partitions))
        gone = [p for notice in notices if notice.kind is not NoticeKind.ASSIGNED for p in notice.partitions]
        self._surroundings.settling.notice(notices)
        self._surroundings.pauses.forget(gone)
        has_gained = any(notice.kind is NoticeKind.ASSIGNED for notice in notices)
        if has_gained:  # whoever read it until now may have blocked lanes
            self._surroundings.blocks.forget()
        return has_gained

    def _status(self) -> dict[str, object]:
        """What operators see of it."""
        surroundings = self._surroundings
        topics = {
            gate.topic: {
                "state": gate.state,
                "reason": gate.why,
                "handlers": sorted({route.name for route in self._routes.get(gate.topic, _NO_ROUTES).values()}),
            }
            for gate in surroundings.gates.all()
        }
        return {
            "state": self._health.state,
            "topics": topics,
            "in_hand": surroundings.settling.count,
            "held": surroundings.pauses.extent()[0],
            "paused_partitions": len(surroundings.pauses),
        }

    def _dispatch(self, deliveries: Sequence[Delivery]) -> None:
        works: list[Work] = []
        for topic, neighbors in groupby(deliveries, _TOPIC_OF):
            works += self._routed(topic, list(neighbors))
        self._lanes.dispatch(works)
        if len(works) < len(deliveries):
            self._surroundings.dirty.set()

    def _routed(self, topic: str, deliveries: Sequence[Delivery]) -> list[Work]:
        """The works of deliveries of one topic; what has no handler is finished or parked here."""
        self._surroundings.instruments.consumed(topic).inc(len(deliveries))
        routes = self._routes.get(topic, _NO_ROUTES)
        works: list[Work] = []
        for delivery in deliveries:
            route = routes.get(delivery.message.type)
            if route is None or delivery.problem is not None:
                self._unread.take(delivery)
            else:
                works.append(Work(delivery, route))
        return works

    async def _extend(self, settling: QueueSettling) -> None:
        """Keep what is being handled, however long that takes; a third of the hold leaves room for a slow broker."""
        while True:
            await self._surroundings.clock.sleep(settling.hold / 3)
            await settling.extend()

    @property
    def paused(self) -> Collection[Partition]:
        """Partitions of which something waits in hand."""
        return self._surroundings.pauses.partitions()

    @property
    def shut(self) -> Collection[str]:
        """Topics that a breaker, a rate limit or an operator stopped."""
        return self._surroundings.gates.shut

    def look_again(self) -> None:
        """Something that was set aside may be due now."""
        self._surroundings.set_aside_news.set()

    async def has_due(self) -> bool:
        """Whether something that was set aside is due, or tried again now."""
        return await self._retrying.has_due()

    async def settled(self) -> bool:
        """Settle what is finished; says whether nothing runs or waits to leave. What is paused may wait."""
        try:
            if self._lanes.idle() and self._egress.idle():
                await self._flusher.flush()
        except AntiphonError as error:
            if not is_passing(error):
                raise
            return False  # it is tried again in the background
        return self._lanes.idle() and self._egress.idle() and not self._surroundings.shelf

    async def drain(self) -> None:
        """Stop fetching, finish or release what runs, flush what goes out, settle, leave the group.

        Twice is safe. Cancelling gives up the waiting, not the drain; the next call waits again.
        """
        self._begin_drain()
        if self._draining is not None:
            await asyncio.shield(self._draining)
        else:  # it never began, and would keep its place in the group
            await self._subscription.close()

    def _begin_drain(self) -> None:
        if self._draining is None and self._fetching is not None:
            self._draining = asyncio.create_task(self._drain(self._fetching), name="antiphon drain")

    async def _drain(self, fetching: asyncio.Task[None]) -> None:
        patience = self._bounds.drain.total_seconds()
        self._health.fetching.rest()
        await cancel([fetching, self._reclaiming], patience)
        self._surroundings.admission.draining = True
        released = await self._lanes.drain(patience)
        if await cancel([self._collecting], patience):
            warn_of_stubborn(["a handler in a shared transaction"])
        await self._give_up(patience)
        self._surroundings.instruments.released.inc(released)
        if released:
            log.info("drain gives back %d deliveries that were not finished", released)
        await self._try("publishing", self._egress.flushed)
        await self._try("settling", self._flusher.flush)
        await self._try("replying", self._surroundings.answers.flushed)
        await self._try("releasing", self._surroundings.settling.release)
        self._surroundings.pauses.stop()
        await cancel(self._background, patience)
        await self._try("leaving the group", self._subscription.close)

    async def _give_up(self, patience: float) -> None:
        """Undo what those have open that could not be canceled, so that it is in nobody's way; for so long at most."""
        undoing = [asyncio.create_task(each.give_up()) for each in self._own]
        await asyncio.wait([*undoing, asyncio.create_task(self._shared.give_up())], timeout=patience)

    def _is_ending(self) -> bool:
        """Whether somebody else than the drain cancels what is ours, as the end of the event loop does."""
        fetching = self._fetching
        return fetching is None or fetching.done() or bool(fetching.cancelling())

    async def _try(self, what: str, step: Callable[[], Coroutine[object, object, None]]) -> None:
        """One step of a drain; its failure is told and the next step still runs."""
        try:
            await asyncio.wait_for(step(), self._bounds.drain.total_seconds())
        except (AntiphonError, TimeoutError) as error:
            log.warning("%s failed during the drain; what is not settled comes again: %r", what, error)
