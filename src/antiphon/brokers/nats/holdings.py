"""What a member holds of subjects, and which of its watermarks move something."""

from __future__ import annotations

from collections.abc import Mapping

from antiphon.brokers.holdings import Holdings
from antiphon.brokers.nats.reading import Owned
from antiphon.brokers.nats.table import Cursor, Kept
from antiphon.brokers.ports import Partition
from antiphon.errors import UsageError

Watermark = tuple[Owned, int]


class NatsHoldings(Holdings[Owned]):
    """What a member holds, in the order in which it is read next. `ring` wakes a waiting fetch."""

    def ready(self) -> list[Owned]:
        """Those of which something is there that may be handed out, whoever waited longest first."""
        return [owned for owned in self.staying() if owned.has_more]

    def has_suspect(self) -> bool:
        """Whether of any some messages seem to be gone."""
        return any(owned.suspected for owned in self._owned.values())

    def void(self, cursors: Mapping[Partition, Kept[Cursor]], me: str) -> list[Owned]:
        """Those that are somebody else's by now, or ours from another place on."""
        return [owned for owned in self if not is_current(owned, cursors.get(owned.partition), me)]

    def sort_out(self, watermarks: Mapping[Partition, str]) -> tuple[list[Watermark], list[Partition]]:
        """The watermarks of what is held, as places; and the partitions that are not, or not as they were read."""
        moves: list[Watermark] = []
        lost: list[Partition] = []
        for partition, position in watermarks.items():
            owned, place = self.get(partition), place_of(position)
            if owned is None or self.is_fenced(partition) or place > owned.read:
                lost.append(partition)
            elif place > owned.done:
                moves.append((owned, place))
        return moves, lost


def is_current(owned: Owned, kept: Kept[Cursor] | None, me: str) -> bool:
    """Whether the lease is still this one, as far as is written; what was read before our last change says nothing."""
    if kept is None:
        return False
    return kept.revision < owned.revision or (kept.value.owner == me and kept.value.epoch == owned.epoch)


def place_of(position: str) -> int:
    """The place in the stream that a position names. Raises UsageError for what is no position of this broker."""
    if position.isascii() and position.isdigit():
        return int(position)
    raise UsageError(f"{position!r} is no position of a topic on NATS: positions are whole numbers from 0")
