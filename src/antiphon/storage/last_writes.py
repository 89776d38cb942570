"""What does a transaction write as the last thing before its commit?"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from antiphon.storage.database import Transaction

T = TypeVar("T")

Write = Callable[[Transaction, Sequence[T]], Awaitable[None]]


class LastWrites:
    """What waits for the commit of one transaction: for what takes locks that many want, so that they are short."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: list[tuple[Write[Any], object]] = []

    def __len__(self) -> int:
        return len(self._items)

    def add(self, write: Write[T], item: T) -> None:
        """Have `write` called once, with every item that was added under it, in order."""
        self._items.append((write, item))

    def undo(self, kept: int) -> None:
        """Forget all but the first `kept`."""
        del self._items[kept:]

    async def run(self, tx: Transaction) -> None:
        """Write them all; nothing is left then. Raises what a write raises: roll back."""
        items, self._items = self._items, []
        by_write: dict[Write[Any], list[object]] = {}
        for write, item in items:
            by_write.setdefault(write, []).append(item)
        for write, gathered in by_write.items():
            await write(tx, gathered)
