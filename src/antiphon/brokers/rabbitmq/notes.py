"""How often was a message handed back without an attempt?

A quorum queue counts each time that a message comes back to it. When a reader gives up a partition in good order, what
it held was not attempted; it writes down which messages that was before it lets go, and whoever gets them subtracts it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from antiphon.brokers.rabbitmq.driver import Link
from antiphon.brokers.rabbitmq.names import Names, notes_arguments
from antiphon.brokers.rabbitmq.outlet import Outlet
from antiphon.brokers.rabbitmq.stream import Stream

_IN_A_NOTE: Final = 500


class Note(msgspec.Struct):
    """The positions of messages, each of which came back once without an attempt."""

    positions: list[str]


class Notes:
    """What the members of one group wrote down for each other."""

    def __init__(self, link: Link, outlet: Outlet, names: Names, group: str) -> None:
        self._uncounted: Counter[str] = Counter()
        self._stream = Stream(link, outlet, names.notes(group), notes_arguments(), Note, self._take)

    async def open(self) -> None:
        await self._stream.open()

    async def close(self) -> None:
        await self._stream.close()

    async def write(self, positions: Sequence[str]) -> None:
        """Returns when everybody will know. Raises ConnectionLostError."""
        parts = (positions[start : start + _IN_A_NOTE] for start in range(0, len(positions), _IN_A_NOTE))
        if notes := [Note(list(part)) for part in parts]:
            await self._stream.write(notes)

    async def look(self) -> None:
        """Return when everything is known that was written before the call. Raises ConnectionLostError."""
        await self._stream.write([Note([])])

    def attempts(self, position: str, deliveries: int) -> int:
        """How many of these deliveries of a message were attempts."""
        return max(0, deliveries - self._uncounted.get(position, 0))

    def forget(self, position: str) -> None:
        """It is settled."""
        self._uncounted.pop(position, None)

    def _take(self, note: Note) -> None:
        self._uncounted.update(note.positions)
