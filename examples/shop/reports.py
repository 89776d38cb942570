"""What does a service's process tell about itself while it runs, so that even killing it loses no count?"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_FORM = struct.Struct("<qqq")


class Counts(NamedTuple):
    """What one process did since it started: deliveries fetched, events handled, duplicates not handled again."""

    consumed: int = 0
    handled: int = 0
    duplicates: int = 0


class Scoreboard:
    """The counts of one process in a small shared file: whoever reads them needs no answer from whoever writes."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(_FORM.size))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _FORM.size)

    def write(self, consumed: int, handled: int, duplicates: int) -> None:
        _FORM.pack_into(self._memory, 0, consumed, handled, duplicates)

    def read(self) -> Counts:
        return Counts(*_FORM.unpack_from(self._memory))


def total(counts: Iterable[Counts]) -> Counts:
    """The sums over several processes."""
    return Counts(*(sum(column) for column in zip(Counts(), *counts, strict=True)))


def percentile(sorted_values: list[int], share: float) -> float:
    """Of microseconds, those below which `share` of them lie, in milliseconds; 0 when there are none."""
    if not sorted_values:
        return 0.0
    place = min(len(sorted_values) - 1, int(share * len(sorted_values)))
    return round(sorted_values[place] / 1000, 2)
