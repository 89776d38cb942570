"""What is written last is written once, with everything that was given for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from antiphon.storage.database import Transaction
from antiphon.storage.last_writes import LastWrites

TX = cast("Transaction", object())


class Writer:
    def __init__(self) -> None:
        self.written: list[Sequence[int]] = []

    async def write(self, tx: Transaction, items: Sequence[int]) -> None:
        assert tx is TX
        self.written.append(items)


async def test_items_of_one_write_are_written_together_in_order_and_once() -> None:
    one, other, last = Writer(), Writer(), LastWrites()
    for number in range(3):
        last.add(one.write, number)
        last.add(other.write, -number)
    await last.run(TX)
    await last.run(TX)
    assert (one.written, other.written) == ([[0, 1, 2]], [[0, -1, -2]])


async def test_what_came_after_a_part_began_is_undone_with_it() -> None:
    writer, last = Writer(), LastWrites()
    last.add(writer.write, 1)
    kept = len(last)
    last.add(writer.write, 2)
    last.undo(kept)
    last.add(writer.write, 3)
    await last.run(TX)
    assert writer.written == [[1, 3]]
