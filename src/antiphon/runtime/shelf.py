"""What is on its way to be set aside outside of a handler's transaction, until a commit of the flusher takes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from antiphon.brokers.ports import Delivery
from antiphon.runtime.blocks import Blocks
from antiphon.runtime.claims import Claims, claim_of
from antiphon.runtime.window import SHELVED, WAITING
from antiphon.storage.database import Transaction
from antiphon.storage.set_aside import SetAside, set_aside, take_turn

MOST_MARKED = 1_000
"""Beyond so many, those that are over by now are forgotten."""
Put = tuple[Delivery, SetAside]
"""A delivery, and what is kept of it."""


class Shelf:
    """Gathers messages to be set aside, in order, and writes them."""

    def __init__(self, claims: Claims, blocks: Blocks) -> None:
        self._claims, self._blocks = claims, blocks
        self._puts: list[Put] = []
        self._marked: dict[Delivery, str] = {}
        """Those that were marked in the inbox before they began, and as what."""
        self.changed: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        return len(self._puts)

    def mark(self, marks: Mapping[Delivery, str]) -> None:
        """These are marked in the inbox: set aside, they lose that in the same commit, to be handled another time.

        What comes here unmarked keeps whatever mark another copy of it has.
        """
        if len(self._marked) > MOST_MARKED:
            self._marked = {each: mark for each, mark in self._marked.items() if each.state in (WAITING, SHELVED)}
        self._marked.update(marks)

    def unmark(self, delivery: Delivery) -> None:
        """It is not marked any more, or its mark stays. Twice is safe."""
        self._marked.pop(delivery, None)

    def put(self, delivery: Delivery, item: SetAside) -> None:
        """Set aside soon; what follows in its lane goes behind it from now on."""
        delivery.state = SHELVED
        break_run(delivery)
        self._blocks.leave(_lane(item))
        self._puts.append((delivery, item))
        self.changed()

    def gathered(self, count: int) -> Sequence[Put]:
        """The first `count` that wait to be written, without what was lost meanwhile."""
        return [put for put in self._puts[:count] if put[0].state == SHELVED]

    async def write(self, tx: Transaction, puts: Sequence[Put]) -> list[Delivery]:
        """Keep these when `tx` commits; returns the claimed ones among them. Raises LeaseLostError: roll back."""
        moved = [(delivery, item) for delivery, item in puts if claim_of(delivery) is not None]
        if moved:
            await take_turn(tx)  # before anything is written: whoever writes the same with his turn would wait for it
        await set_aside(tx, [item for delivery, item in puts if claim_of(delivery) is None])
        for delivery, item in moved:
            await self._claims.again(tx, delivery, item)
        return [delivery for delivery, _ in moved]

    def marked(self, puts: Sequence[Put]) -> list[str]:
        """The marks of these, which go."""
        return [self._marked[delivery] for delivery, _ in puts if delivery in self._marked]

    def written(self, taken: int, stored: Sequence[Put]) -> None:
        """The first `taken` of all that was put are written, or lost; `stored` are those that were committed."""
        gone, self._puts = self._puts[:taken], self._puts[taken:]
        kept = {id(delivery) for delivery, _ in stored}
        for delivery, item in gone:
            self._marked.pop(delivery, None)
            self._blocks.arrived([_lane(item)], stored=id(delivery) in kept)


def break_run(delivery: Delivery) -> None:
    """Those claimed with it, behind it, go back."""
    claim = claim_of(delivery)
    if claim is not None:
        claim.run.is_broken = True


def _lane(item: SetAside) -> tuple[str, str] | None:
    return None if item.lane is None else (item.topic, item.lane)
