"""Which lanes are blocked: something of their key was set aside, so that whatever follows goes behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence

from antiphon.brokers.capabilities import Capabilities
from antiphon.brokers.ports import Delivery, Partition
from antiphon.errors import UsageError
from antiphon.events.clock import Clock
from antiphon.runtime.claims import Claim, claim_of
from antiphon.runtime.work import Work
from antiphon.storage.database import Database
from antiphon.storage.set_aside import Lane, RetryStore
from antiphon.storage.texts import kept

MOST_KNOWN = 20_000
"""Up to so many blocked lanes are all kept in memory; of more, those of each fetched batch are asked for."""
EVERY = 1.0
EACH = 0.0001
"""Seconds between two looks at all lanes, and for each lane."""


class Blocks:
    """What this consumer knows of its group's blocked lanes. A lane is blocked while the store holds something of it,
    or something is on its way there.
    """

    def __init__(
        self,
        store: RetryStore,
        database: Database,
        clock: Clock,
        capabilities: Capabilities,
        is_before: Callable[[str, str], bool] | None = None,
    ) -> None:
        self._store, self._database, self._is_before = store, database, is_before
        self._monotonic = clock.monotonic
        self._keeps_order = capabilities.key_order
        self._is_shared = capabilities.model == "queue"
        """Whether others, too, handle messages of the lanes that we read."""
        self._known_until = 0.0
        self._forgotten = 0
        self._stored: set[Lane] = set()
        self._added: set[Lane] = set()
        """Those stored while the store was asked, whose answer may be older."""
        self._heads: dict[Lane, tuple[Partition, str] | None] = {}
        """Of lanes that were asked about: where the dead letter lay that blocks it, None where none does."""
        self._leaving: Counter[Lane] = Counter()
        self._names: set[str] = set()
        """The names of all those lanes, and of some that were blocked a moment ago."""
        self.any = False
        """Whether any lane may be blocked: looked at before each message, so that it is no method."""

    def lane_of(self, work: Work) -> Lane | None:
        """The lane of a work, where its order is kept."""
        key = work.delivery.message.key
        if key is None or not self._keeps_order or not work.route.ordered:
            return None
        return work.delivery.partition.topic, kept(key)

    def may_hold(self, delivery: Delivery) -> bool:
        """A quick look, before each message: whether `holds` has to be asked about this one."""
        if isinstance(delivery.handle, Claim):
            return True
        key = delivery.message.key
        return self.any and key is not None and kept(key) in self._names

    def holds(self, work: Work) -> bool:
        """Whether a work must go behind another one of its lane."""
        delivery = work.delivery
        claim = claim_of(delivery)
        if claim is not None:
            return claim.run.is_broken or claim.number > claim.run.goes_until
        lane = self.lane_of(work)
        if lane in self._stored:
            return lane in self._leaving or not self._comes_first(delivery, lane)
        return lane in self._leaving

    def _comes_first(self, delivery: Delivery, lane: Lane) -> bool:
        """Whether it came before the dead letter that blocks its lane: read again after a crash or a seek."""
        head = self._heads.get(lane)
        if head is None or self._is_before is None or head[0] != delivery.partition:
            return False
        try:
            return self._is_before(delivery.position, head[1])
        except UsageError:
            return False  # the head lay in a broker from which its service was moved: nothing here came before it

    async def look(self, deliveries: Sequence[Delivery]) -> None:
        """Ask the store, before these are handled, what others may have changed.

        In partitions that are ours nobody else blocks a lane, so that only what was unblocked can be news, and that
        can wait a moment: what goes behind nothing is due at once. After a rebalance nothing is taken for known.
        """
        if not self._keeps_order:
            return
        if self._monotonic() >= self._known_until:
            await self._look_at_lanes(deliveries)
        if self._stored and self._is_before is not None:
            blocked = _lanes([each for each in deliveries if self.may_hold(each)]) & self._stored
            await self._look_at_heads(blocked - self._heads.keys())

    async def _look_at_heads(self, lanes: Collection[Lane]) -> None:
        """Ask for these once: what is parked stays so, and what it is no more is seen at the next look at all."""
        if lanes:
            found = await self._store.parked_heads(self._database, lanes)
            self._heads.update(dict.fromkeys(lanes))
            self._heads.update({(h.topic, h.lane): (Partition(h.topic, h.partition), h.position) for h in found})

    async def _look_at_lanes(self, deliveries: Sequence[Delivery]) -> None:
        self._added.clear()
        self._heads.clear()
        forgotten = self._forgotten
        found = set(await self._store.blocked(self._database, MOST_KNOWN + 1))
        if len(found) > MOST_KNOWN:
            wanted = _lanes(deliveries)
            found = set(await self._store.blocked_among(self._database, wanted))
            self._stored = (self._stored - wanted) | found | self._added
        else:
            self._stored = found | self._added
            if forgotten == self._forgotten:  # else partitions came while the store was asked
                self._known_until = self._monotonic() + self._rest(len(found))
        self._names = {name for _, name in (*self._stored, *self._leaving)}
        self._tell()

    def _rest(self, lanes: int) -> float:
        """Seconds until it is worth asking again: longer where the answer is long."""
        return 0.0 if self._is_shared else EVERY + lanes * EACH

    def forget(self) -> None:
        """Ask again before the next message is handled: partitions came that others had."""
        self._known_until = 0.0
        self._forgotten += 1

    def leave(self, lane: Lane | None) -> None:
        """Something of this lane is on its way to the store."""
        if lane is not None:
            self._leaving[lane] += 1
            self._names.add(lane[1])
            self.any = True

    def arrived(self, lanes: Iterable[Lane | None], *, stored: bool) -> None:
        """What was on its way is in the store now, or never gets there."""
        for lane in lanes:
            if lane is not None:
                self._leaving[lane] -= 1
                if self._leaving[lane] <= 0:
                    del self._leaving[lane]
                if stored:
                    self._stored.add(lane)
                    self._added.add(lane)
        self._tell()

    def store(self, lanes: Iterable[Lane | None]) -> None:
        """Something of each of these was committed to the store."""
        new = {lane for lane in lanes if lane is not None}
        self._stored |= new
        self._added |= new
        self._names.update(name for _, name in new)
        self._tell()

    def _tell(self) -> None:
        self.any = bool(self._stored or self._leaving)


def _lanes(deliveries: Sequence[Delivery]) -> set[Lane]:
    return {(each.partition.topic, kept(each.message.key)) for each in deliveries if each.message.key is not None}
