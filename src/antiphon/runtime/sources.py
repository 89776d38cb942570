"""The two places that deliveries come from, settled together: the broker, and what was set aside."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from antiphon.brokers.ports import Delivery, Notice, Partition
from antiphon.runtime.claims import Claims, claim_of
from antiphon.runtime.settlement import Confirm, Settling, check_held, finish
from antiphon.storage.database import Transaction


class Sources:
    """Settles each delivery where it came from. With `joins` the broker settles in transactions of the store."""

    def __init__(self, broker: Settling, claims: Claims, *, joins: bool) -> None:
        self.broker, self.claims = broker, claims
        self._joins = joins

    @property
    def count(self) -> int:
        """Deliveries in hand and not settled."""
        return self.broker.count + self.claims.count

    @property
    def bytes(self) -> int:
        """The bytes of their data."""
        return self.broker.bytes + self.claims.bytes

    def pending(self) -> bool:
        """Whether anything finished waits to be settled."""
        return self.broker.pending() or self.claims.pending()

    async def settle(self) -> int:
        """Settle what is finished; returns how many. On failure nothing is forgotten."""
        settled = await self.claims.settle() if self.claims.count else 0
        return settled + (await self.broker.settle() if self.broker.pending() else 0)

    async def settle_in(self, tx: Transaction, done: Sequence[Delivery], moved: Collection[Delivery] = ()) -> Confirm:
        """As `Settling.settle_in`; `moved` are those of `done` that `tx` sets aside again.

        Where the broker cannot settle in `tx`, its deliveries are finished once that has committed. What was given up
        while it was handled is refused all the same, as far as it is known here.
        """
        claimed = [each for each in done if claim_of(each) is not None] if self.claims.count else []
        own = done if not claimed else [each for each in done if claim_of(each) is None]
        if claimed:
            await self.claims.settle_in(tx, claimed, moved)
        if self._joins:
            settled = await self.broker.settle_in(tx, own)
        else:
            check_held(own)
            settled = None

        def confirm() -> int:
            self.claims.drop(claimed)
            if settled is not None:
                return settled() + len(claimed)
            finish(own)
            return len(claimed)

        return confirm

    def notice(self, notices: Sequence[Notice]) -> list[Delivery]:
        """Take changes of partitions; returns the deliveries that are lost by them."""
        return self.broker.notice(notices)

    async def release(self) -> None:
        """Give back what is not finished, uncounted."""
        await self.claims.release()
        await self.broker.release()

    def pause(self, partitions: Sequence[Partition]) -> None:
        self.broker.pause(partitions)

    def resume(self, partitions: Sequence[Partition]) -> None:
        self.broker.resume(partitions)

    def waiting(self, partition: Partition) -> Sequence[Delivery]:
        """What was fetched from it and is not finished, in order of arrival."""
        return self.broker.waiting(partition)
