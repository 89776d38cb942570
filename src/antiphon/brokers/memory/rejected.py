"""What the members of a queue's group rejected: its native dead letters, and who has them in hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import islice

from msgspec import Struct
from msgspec.structs import replace

from antiphon.brokers.memory.bell import left
from antiphon.brokers.ports import Delivery, Outcome
from antiphon.events.clock import Clock


class Grip(Struct, eq=False):
    """A hold on one of them, until a moment."""

    keeper: Rejected
    kept: Delivery
    until: float


class Rejected:
    """Deliveries that were rejected, the oldest first."""

    def __init__(self, clock: Clock, hold: timedelta) -> None:
        self._clock, self._hold = clock, hold.total_seconds()
        self._kept: dict[Delivery, Grip | None] = {}

    def add(self, delivery: Delivery) -> None:
        self._kept[delivery] = None

    def read(self, limit: int | None = None) -> Sequence[Delivery]:
        """The first `limit`, whoever holds them."""
        return tuple(islice(self._kept, limit))

    def take(self, limit: int) -> Sequence[Delivery]:
        """The first `limit` that nobody holds; they are held now."""
        until = self._clock.monotonic() + self._hold
        free = [kept for kept, grip in self._kept.items() if grip is None or not left(self._clock, grip.until)]
        taken = [Grip(self, kept, until) for kept in free[:limit]]
        self._kept.update((grip.kept, grip) for grip in taken)
        return [replace(grip.kept, handle=grip) for grip in taken]

    def settle(self, grip: Grip, outcome: Outcome) -> None:
        """Forget it, or give it back, if that grip is the one that holds it."""
        if self._kept.get(grip.kept) is not grip or not left(self._clock, grip.until):
            return
        if outcome.kind == "done":
            del self._kept[grip.kept]
        else:
            self._kept[grip.kept] = None
