"""How does SQLite's write-ahead log stay bounded while readers never pause?"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

_WAIT_FOR_READERS = timedelta(milliseconds=100)


class WalBound:
    """Empties the log once it is longer than `limit` bytes.

    SQLite's own checkpoints start the log anew only when, by chance, nobody reads. While writers are kept away
    new readers need the log no more, so it is enough to wait for those that began before. One that takes too
    long is left alone, and the log may then grow by a quarter before the next attempt.
    """

    def __init__(self, limit: int) -> None:
        self._limit = self._next = limit

    def apply(self, log: str, truncate: Callable[[], bool]) -> None:
        """Call it after a commit, in a thread, with writers kept away. `truncate` says whether it emptied the log."""
        if _size(log) < self._next:
            return
        deadline = time.monotonic() + _WAIT_FOR_READERS.total_seconds()
        while not truncate() and time.monotonic() < deadline:
            time.sleep(random.uniform(0.0001, 0.001))
        self._next = max(self._limit, _size(log) + self._limit // 4)


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0
