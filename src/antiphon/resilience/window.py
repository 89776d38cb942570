"""How many of the latest calls failed or were slow, in constant memory however many there were."""

from __future__ import annotations

BUCKETS = 20
"""So many parts of the window are forgotten one after another: a call counts for the window, or up to a part less."""


class Window:
    """Counts over the last so many seconds, kept as one small list for each part of them."""

    __slots__ = ("_buckets", "_index", "_width", "failures", "slow", "total")

    def __init__(self, seconds: float) -> None:
        self._width = seconds / BUCKETS
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.total = self.failures = self.slow = 0
        self._index = 0
        self._buckets = [[0, 0, 0] for _ in range(BUCKETS)]

    def add(self, now: float, total: int, failures: int, slow: int) -> None:
        """Count `total` calls that ended at `now`, of which so many failed and so many were slow."""
        index = int(now / self._width)
        if index > self._index:
            self._slide(index)
        bucket = self._buckets[self._index % BUCKETS]
        bucket[0] += total
        bucket[1] += failures
        bucket[2] += slow
        self.total += total
        self.failures += failures
        self.slow += slow

    def _slide(self, index: int) -> None:
        for passed in range(max(self._index, index - BUCKETS) + 1, index + 1):
            bucket = self._buckets[passed % BUCKETS]
            self.total -= bucket[0]
            self.failures -= bucket[1]
            self.slow -= bucket[2]
            bucket[:] = (0, 0, 0)
        self._index = index
