"""Where does a message stand in the table of a log, and what is that place called outside of it?"""

from __future__ import annotations

from antiphon.errors import UsageError

OFFSET_BITS = 40
OFFSET_MASK = (1 << OFFSET_BITS) - 1


def offset_of(position: str) -> int:
    """The offset that a position names. Raises UsageError for what is no position of this log."""
    if position.isascii() and position.isdigit():
        return int(position)
    raise UsageError(f"{position!r} is no position of this log: positions are whole numbers from 0")
