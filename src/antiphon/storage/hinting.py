"""How do processes tell each other that something was committed, so that nobody has to look all the time?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

OUTBOX_HINTS = "outbox"
"""The channel of those who stage messages and of those who publish them."""


@runtime_checkable
class HintingDatabase(Protocol):
    """A store over which its users, on whatever machine, can rouse each other.

    A hint may be lost, come late or stand for many; whoever listens looks by itself, too, if less often.
    """

    def hint(self, channel: str) -> None:
        """Rouse whoever listens, soon. Called after a commit, never within the transaction; cheap, and never raises."""
        ...

    async def listen(self, channel: str, roused: Callable[[], None]) -> None:
        """Call `roused` at each hint, and whenever hints may have been missed. Runs until it is canceled."""
        ...
