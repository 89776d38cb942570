"""Is all that a group tells the broker it is done with really handled, ignored, or kept in the store?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from antiphon.brokers.memory import MemoryBroker
from antiphon.brokers.ports import Delivery, Partition, Settlement
from antiphon.storage.database import Database
from antiphon.storage.set_aside import AsideState
from antiphon.testing.simulation.loop import at_once
from antiphon.testing.simulation.record import Entry, Record
from antiphon.testing.simulation.trace import Trace

_ALL = 1_000_000
_KEPT = """
select state, reason from antiphon_set_aside where consumer_group = ? and topic = ? and partition = ? and position = ?
"""


class Settled:
    """Checks what is settled when it is."""

    def __init__(self, broker: MemoryBroker, store: Database, record: Record, trace: Trace) -> None:
        self._broker, self._store, self._record, self._trace = broker, store, record, trace
        self._passed: dict[tuple[str, Partition], str] = {}
        self._settled: set[tuple[str, Entry]] = set()

    def check_watermarks(self, group: str, watermarks: Mapping[Partition, str]) -> None:
        """Nothing up to these is unfinished."""
        for partition, position in watermarks.items():
            for delivery in self._up_to(group, partition, position):
                self._check(group, delivery, "the watermark passes")

    def check_settlements(self, group: str, settlements: Sequence[Settlement]) -> None:
        """What is settled as done is done."""
        for delivery, outcome in settlements:
            if outcome.kind == "done":
                self._check(group, delivery, "it settles")

    def check_all(self, group: str) -> None:
        """Everything that a group reads is done or kept: nothing is lost."""
        for entry in self._record.read_by(group):
            if entry.partition is None:
                self._trace.fail(f"{group} was never given {entry}")
            else:
                self._check(group, Delivery(entry.partition, entry.position, entry.message), "it lost")

    def kept_as(self, group: str, partition: Partition, position: str) -> tuple[AsideState, str] | None:
        """As what, and for which reason, it is set aside that lies there; None where it is not."""
        found = at_once(self._store.fetch(_KEPT, group, *partition, position, row=tuple[int, str]))
        return (AsideState(found[0][0]), found[0][1]) if found else None

    def _up_to(self, group: str, partition: Partition, position: str) -> list[Delivery]:
        """What lies in a partition, after what was looked at already and up to this position."""
        before = self._passed.get((group, partition), "0")
        if int(position) <= int(before):
            return []
        self._passed[group, partition] = position
        found = at_once(self._broker.browse(partition.topic, {partition.number: before}, _ALL))
        mine = [each for each in found if each.partition == partition]
        return [each for each in mine if int(before) < int(each.position) <= int(position)]

    def _check(self, group: str, delivery: Delivery, verb: str) -> None:
        entry = self._record.of(delivery.message)
        self._settled.add((group, entry))
        sight = self._record.sight(group, entry)
        if sight is None or sight.settles_first or self._record.is_finished(group, entry):
            return
        is_kept = self.kept_as(group, delivery.partition, delivery.position) is not None
        if not is_kept and not self._has_other_copy(group, entry):
            self._trace.fail(f"{group}: {verb} {entry}, which is neither handled nor kept")

    def _has_other_copy(self, group: str, entry: Entry) -> bool:
        """Whether another copy of it is kept, or still to come: a duplicate needs no keeping."""
        return any(
            (group, copy) not in self._settled
            or (copy.partition is not None and self.kept_as(group, copy.partition, copy.position) is not None)
            for copy in self._record.copies[entry.identity]
        )
