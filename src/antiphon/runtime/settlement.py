"""How finished deliveries are told to the broker: a watermark on a log, one by one on a queue."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Protocol, cast

from antiphon.brokers.ports import (
    DONE,
    RELEASE,
    Delivery,
    LogSubscription,
    Notice,
    NoticeKind,
    Partition,
    QueueSubscription,
    Settlement,
    StoreLogSubscription,
    StoreQueueSubscription,
)
from antiphon.errors import LeaseLostError
from antiphon.runtime.window import FINISHED, LOST, RELEASED, SHELVED, WAITING, Prefix, Windows
from antiphon.storage.database import Transaction

Confirm = Callable[[], int]
"""Forgets what a transaction settled; returns how many."""


class Leaving(Protocol):
    """What leaves with the watermark: see `Bundles`."""

    def __contains__(self, delivery: object, /) -> bool: ...

    def __bool__(self) -> bool: ...

    async def leave(self, watermarks: Mapping[Partition, str], passed: Iterable[Delivery]) -> bool: ...

    def sweep(self) -> None: ...


class Settling(Protocol):
    """The side of a subscription that the runtime settles on."""

    @property
    def count(self) -> int:
        """Deliveries fetched and not settled."""
        ...

    @property
    def bytes(self) -> int:
        """The bytes of their data."""
        ...

    def track(self, deliveries: Sequence[Delivery]) -> None: ...

    def pending(self) -> bool:
        """Whether anything finished waits to be settled."""
        ...

    async def settle(self) -> int:
        """Settle what is finished; returns how many. On failure nothing is forgotten."""
        ...

    async def settle_in(self, tx: Transaction, done: Sequence[Delivery]) -> Confirm:
        """Settle `done` when `tx` commits, and what is finished with it; the caller calls the result once it has.

        Until then nothing of `done` is finished for anyone else. Raises LeaseLostError: roll back.
        """
        ...

    def notice(self, notices: Sequence[Notice]) -> list[Delivery]:
        """Take changes of partitions; returns the deliveries that are lost by them."""
        ...

    async def release(self) -> None:
        """Give back what is not finished, uncounted."""
        ...

    def pause(self, partitions: Sequence[Partition]) -> None: ...

    def resume(self, partitions: Sequence[Partition]) -> None: ...

    def waiting(self, partition: Partition) -> Sequence[Delivery]:
        """What was fetched from it and is not finished, in order of arrival."""
        ...


def finish(deliveries: Iterable[Delivery]) -> None:
    """Mark as finished what was not lost meanwhile."""
    for delivery in deliveries:
        if delivery.state in (WAITING, SHELVED):
            delivery.state = FINISHED


def check_held(done: Iterable[Delivery]) -> None:
    """Raise LeaseLostError, for a roll back, when one of these was given up."""
    lost = next((delivery for delivery in done if delivery.state in (LOST, RELEASED)), None)
    if lost is not None:
        raise LeaseLostError(f"{lost!r} was given up while it was handled: roll back, its next reader repeats it")


class LogSettling:
    """A watermark per partition; only the finished prefix moves it."""

    def __init__(self, subscription: LogSubscription) -> None:
        self._subscription = subscription
        self._windows = Windows()
        self.bundles: Leaving | None = None
        """What leaves with the watermark, where anything does."""

    @property
    def count(self) -> int:
        return self._windows.count

    @property
    def bytes(self) -> int:
        return self._windows.bytes

    def track(self, deliveries: Sequence[Delivery]) -> None:
        self._windows.track(deliveries)

    def pending(self) -> bool:
        return self._windows.ready()

    async def settle(self) -> int:
        prefix = self._windows.prefix()
        if prefix and self.bundles:
            if not await self.bundles.leave(prefix.watermarks, self._windows.passed(prefix)):
                return 0
        elif prefix:
            await self._subscription.commit(prefix.watermarks)
        return self._drop(prefix)

    async def settle_in(self, tx: Transaction, done: Sequence[Delivery]) -> Confirm:
        check_held(done)
        # What leaves with the watermark does not leave in `tx`.
        prefix = self._windows.prefix(set(done), self.bundles or ())
        # Where something earlier is unfinished no watermark moves, and who lost the partition must not commit either.
        held = {delivery.partition for delivery in done if delivery.partition not in prefix.last}
        if prefix or held:
            await cast(StoreLogSubscription, self._subscription).commit_in(tx, prefix.watermarks, held)

        def confirm() -> int:
            finish(done)
            return self._drop(prefix)

        return confirm

    def notice(self, notices: Sequence[Notice]) -> list[Delivery]:
        lost: list[Partition] = []
        for notice in notices:
            if notice.kind is not NoticeKind.ASSIGNED:
                lost.extend(notice.partitions)
        gone = self._windows.lose(lost)
        if self.bundles:
            self.bundles.sweep()
        return gone

    async def release(self) -> None:
        """Nothing to tell a log: what is past the watermark comes again."""

    def pause(self, partitions: Sequence[Partition]) -> None:
        self._subscription.pause(partitions)

    def resume(self, partitions: Sequence[Partition]) -> None:
        self._subscription.resume(partitions)

    def waiting(self, partition: Partition) -> Sequence[Delivery]:
        return self._windows.waiting(partition)

    def _drop(self, prefix: Prefix) -> int:
        before = self._windows.count
        self._windows.drop(prefix)
        return before - self._windows.count


class QueueSettling:
    """One settlement for each delivery, in batches."""

    def __init__(self, subscription: QueueSubscription) -> None:
        self._subscription = subscription
        self._held: dict[int, Delivery] = {}
        self._given_up: list[Delivery] = []
        """Handled in vain, since the hold of one in their transaction was over: to be released, where still held."""
        self.bytes = 0

    @property
    def count(self) -> int:
        return len(self._held)

    def track(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self._held[id(delivery)] = delivery
            self.bytes += len(delivery.message.data or b"")

    def pending(self) -> bool:
        return bool(self._given_up) or any(delivery.state == FINISHED for delivery in self._held.values())

    def _finished(self) -> list[Delivery]:
        return [delivery for delivery in self._held.values() if delivery.state == FINISHED]

    async def settle(self) -> int:
        finished, given_up = self._finished(), tuple(self._given_up)
        settlements = [Settlement(delivery, DONE) for delivery in finished]
        settlements += [Settlement(delivery, RELEASE) for delivery in given_up]
        if settlements:
            await self._subscription.settle(settlements)
        del self._given_up[: len(given_up)]
        return self._drop(finished)

    async def settle_in(self, tx: Transaction, done: Sequence[Delivery]) -> Confirm:
        check_held(done)
        if done:
            try:
                settlements = [Settlement(delivery, DONE) for delivery in done]
                await cast(StoreQueueSubscription, self._subscription).settle_in(tx, settlements)
            except LeaseLostError:
                self._give_up(done)
                raise

        def confirm() -> int:
            finish(done)
            return self._drop(done)

        return confirm

    def _give_up(self, deliveries: Sequence[Delivery]) -> None:
        """A queue does not say whose hold is over, so all of a transaction go back; whoever gets them repeats them."""
        for delivery in deliveries:
            delivery.state = LOST
        self._given_up += deliveries
        self._drop(deliveries)

    def notice(self, notices: Sequence[Notice]) -> list[Delivery]:
        return []

    async def release(self) -> None:
        waiting = [delivery for delivery in self._held.values() if delivery.state in (WAITING, RELEASED, SHELVED)]
        if waiting:
            await self._subscription.settle([Settlement(delivery, RELEASE) for delivery in waiting])
        self._drop(waiting)

    def pause(self, partitions: Sequence[Partition]) -> None:
        """A queue has nothing to pause: what waits is held, and bounds stop the fetching."""

    def resume(self, partitions: Sequence[Partition]) -> None:
        """See `pause`."""

    def waiting(self, partition: Partition) -> Sequence[Delivery]:
        return [d for d in self._held.values() if d.state == WAITING and d.partition == partition]

    @property
    def hold(self) -> timedelta:
        """How long the broker holds what was fetched."""
        return self._subscription.hold

    async def extend(self) -> None:
        """Hold everything unfinished for another period."""
        await self._subscription.extend([d for d in self._held.values() if d.state in (WAITING, SHELVED)])

    def _drop(self, deliveries: Iterable[Delivery]) -> int:
        count = 0
        for delivery in deliveries:
            if self._held.pop(id(delivery), None) is not None:
                self.bytes -= len(delivery.message.data or b"")
                count += 1
        return count
