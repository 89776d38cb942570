"""What was set aside and is in hand again: held like deliveries of a queue, and settled in the store."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from math import inf

from msgspec import Struct

from antiphon.brokers.ports import Delivery, Partition
from antiphon.errors import LeaseLostError
from antiphon.events.clock import Clock
from antiphon.runtime.window import FINISHED, LOST, RELEASED, SETTLED, SHELVED, WAITING
from antiphon.storage.database import Database, Transaction
from antiphon.storage.set_aside import Claimed, Lane, RetryStore, SetAside, refuses_late_turns, turn_first


class LaneRun(Struct, eq=False):
    """The messages of one lane that were claimed together."""

    is_broken: bool = False
    """One of them was set aside again, so that those behind it go back."""
    goes_until: float = inf
    """The number of one that its topic stopped: those behind it go back, and those before it go on."""


class Claim(Struct, frozen=True, eq=False):
    """The handle of a delivery that comes from what was set aside."""

    number: int
    lane: Lane | None
    run: LaneRun


def claim_of(delivery: Delivery) -> Claim | None:
    """Its claim, if it was set aside before; None for what comes straight from the broker."""
    return delivery.handle if isinstance(delivery.handle, Claim) else None


def run_of(delivery: Delivery) -> LaneRun:
    """The run of a claimed delivery."""
    return _claim(delivery).run


def deliveries_of(claimed: Sequence[Claimed]) -> list[Delivery]:
    """Them as deliveries, those of one lane sharing a run."""
    runs: dict[Lane, LaneRun] = {}
    found: list[Delivery] = []
    for one in claimed:
        lane = None if one.lane is None else (one.topic, one.lane)
        run = LaneRun() if lane is None else runs.setdefault(lane, LaneRun())
        handle = Claim(one.number, lane, run)
        place = Partition(one.topic, one.partition)
        found.append(Delivery(place, one.position, one.message, len(one.attempts) + 1, handle))
    return found


class Claims:
    """The claimed deliveries of one consumer, from the claim to their settlement."""

    def __init__(self, store: RetryStore, database: Database, clock: Clock) -> None:
        self.store, self._database, self._clock = store, database, clock
        self._held: dict[int, Delivery] = {}
        self.has_claimed = False
        """Whether anything was ever claimed: also what never came to hand, since a drain came in between."""
        self._is_unsure = False
        """Whether something may be claimed that is not known here."""
        self.settles_later = refuses_late_turns(database)
        """Whether handlers' transactions leave what was claimed to `settle`; until then the inbox knows it for handled.

        They look at the inbox first and end late, and would be refused their turn whenever others had theirs meanwhile.
        """
        self._left: set[Delivery] = set()
        """What is left to it once its transaction has committed."""
        self.bytes = 0
        self.changed: Callable[[], None] = lambda: None
        """Called when something that was in hand is settled: there is room, and what waited behind it may be due."""

    @property
    def count(self) -> int:
        return len(self._held)

    @property
    def hold(self) -> timedelta:
        return self.store.hold

    async def claim(self, now: datetime, limit: int, without: Iterable[str]) -> list[Claimed]:
        """Take some `limit` of what is due, but for these topics, to be tracked. After a failure `let_go` first."""
        async with turn_first(self._database) as tx:
            self.has_claimed = self._is_unsure = True
            claimed = await self.store.claim(tx, now, limit, without)
        self._is_unsure = False
        return claimed

    async def let_go(self) -> None:
        """Let go of what was claimed unknown to us, since the connection was lost at the commit, if anything was.

        It has our token, so that nobody would take it over before this process ends.
        """
        if self._is_unsure:
            async with turn_first(self._database) as tx:
                await self.store.release_all(tx, but=self._held)
            self._is_unsure = False

    def track(self, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            before = self._held.pop(_number(delivery), None)
            self.bytes += _size(delivery) - (0 if before is None else _size(before))
            self._held[_number(delivery)] = delivery

    def pending(self) -> bool:
        """Whether any is finished or goes back."""
        return any(delivery.state in (FINISHED, RELEASED) for delivery in self._held.values())

    async def settle(self) -> int:
        """Forget those that are finished, and let go of those that go back. What others hold now is theirs."""
        finished, back = self._in(FINISHED), self._in(RELEASED)
        if not finished and not back:
            return 0
        async with turn_first(self._database) as tx:
            if finished:
                await self.store.finish(tx, _numbers(finished))
                await self.store.promote(tx, _lanes(finished), self._clock.now())
            if back:
                await self.store.release(tx, _numbers(back))
        self._settled([*finished, *back])
        return len(finished) + len(back)

    async def settle_in(self, tx: Transaction, done: Sequence[Delivery], moved: Collection[Delivery]) -> None:
        """Forget `done` when `tx` commits, but for what was `moved`: set aside again in `tx`. Raises LeaseLostError."""
        gone = [delivery for delivery in done if delivery not in moved]
        self._left.difference_update(done)
        if self.settles_later:
            self._left.update(gone)
            return
        if not gone:
            return
        found = await self.store.finish(tx, _numbers(gone))
        if len(found) < len(gone):
            raise self.lost([delivery for delivery in gone if _number(delivery) not in found])
        await self.store.promote(tx, _lanes(gone), self._clock.now())

    async def release(self) -> None:
        """Let go of everything that is not finished, so that others get it at once."""
        back = [delivery for delivery in self._held.values() if delivery.state in (WAITING, RELEASED, SHELVED)]
        if back or self.has_claimed:
            async with turn_first(self._database) as tx:
                await self.store.release_all(tx)
        self._settled(back)

    async def extend(self) -> None:
        """Hold everything unfinished for another period."""
        waiting = [*self._in(WAITING), *self._in(SHELVED)]
        if waiting:
            async with turn_first(self._database) as tx:
                await self.store.extend(tx, _numbers(waiting), self._clock.now())

    async def again(self, tx: Transaction, delivery: Delivery, item: SetAside) -> None:
        """Set one aside again when `tx` commits. Raises LeaseLostError: roll back."""
        if not await self.store.again(tx, _number(delivery), item):
            raise self.lost([delivery])

    def lost(self, deliveries: Sequence[Delivery]) -> LeaseLostError:
        """The error to raise, since others hold these now: they are handled and settled no more, nor what is behind."""
        for delivery in deliveries:
            delivery.state = LOST
            _claim(delivery).run.is_broken = True
        self._forget(deliveries)
        names = ", ".join(delivery.message.id for delivery in deliveries)
        return LeaseLostError(f"{names} was tried again here, but another process holds it now, or it was dropped")

    def drop(self, deliveries: Sequence[Delivery]) -> None:
        """Forget what a transaction settled; what it left is finished."""
        left = self._left.intersection(deliveries)
        self._left -= left
        for delivery in left:
            if delivery.state != LOST:
                delivery.state = FINISHED
        self._settled([delivery for delivery in deliveries if delivery not in left])

    def _settled(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            if delivery.state != LOST:
                delivery.state = SETTLED
        self._forget(deliveries)
        if deliveries:
            self.changed()

    def _forget(self, deliveries: Sequence[Delivery]) -> None:
        self._left.difference_update(deliveries)
        for delivery in deliveries:
            # Let go in the store it may have been claimed again before it is forgotten here.
            if self._held.get(_number(delivery)) is delivery:
                del self._held[_number(delivery)]
                self.bytes -= _size(delivery)

    def _in(self, state: int) -> list[Delivery]:
        return [delivery for delivery in self._held.values() if delivery.state == state]


def _claim(delivery: Delivery) -> Claim:
    claim = claim_of(delivery)
    assert claim is not None, "only what was claimed is held here"
    return claim


def _number(delivery: Delivery) -> int:
    return _claim(delivery).number


def _numbers(deliveries: Iterable[Delivery]) -> list[int]:
    return [_number(delivery) for delivery in deliveries]


def _lanes(deliveries: Iterable[Delivery]) -> set[Lane]:
    return {lane for delivery in deliveries if (lane := _claim(delivery).lane) is not None}


def _size(delivery: Delivery) -> int:
    return len(delivery.message.data or b"")
