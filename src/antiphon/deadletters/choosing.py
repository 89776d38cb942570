"""Which dead letters does somebody mean, and can anything be done with them now?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise, starmap, takewhile

from msgspec import Struct
from msgspec.structs import replace

from antiphon.deadletters.readers import Readers
from antiphon.errors import DeadLetterError
from antiphon.storage.database import Database
from antiphon.storage.dead_letters import (
    LetterOutline,
    StoredLetter,
    find_any,
    ids_beginning,
    outline,
    parked_before,
)
from antiphon.storage.inbox import KEEP_MARKS
from antiphon.storage.letter_query import LetterQuery
from antiphon.storage.outbox import OUTBOX_GROUP
from antiphon.storage.set_aside import AsideState

SHORTEST = 8
"""Characters of an id that are enough, where no other one begins so."""
_NO_LIMIT, _MOST_ALIKE = -1, 100


class Chosen(Struct, frozen=True):
    """Dead letters that something is to be done with, in order, and how many more would have fit."""

    letters: tuple[LetterOutline, ...]
    left_out: int = 0

    @property
    def numbers(self) -> Sequence[int]:
        return [letter.number for letter in self.letters]

    def counts(self) -> Sequence[tuple[str, int]]:
        """How many there are of each group and handler, the most first."""
        return Counter(f"{letter.group}/{letter.handler}" for letter in self.letters).most_common()

    @property
    def for_handlers(self) -> Sequence[LetterOutline]:
        """Those that handlers gave up. The others were refused by the broker, and are sent to it again."""
        return [letter for letter in self.letters if letter.group != OUTBOX_GROUP]

    def require_readers(self, readers: Readers) -> None:
        """Raise DeadLetterError unless each that a handler gave up still has one."""
        readers.require((letter.group, letter.topic, letter.type) for letter in self.for_handlers)


async def forgotten(store: Database, chosen: Chosen, now: datetime, keep: timedelta = KEEP_MARKS) -> int:
    """How many were parked longer ago than inboxes `keep` marks, so that a duplicate may not be recognized."""
    return await parked_before(store, [letter.number for letter in chosen.for_handlers], now - keep)


async def whole_ids(store: Database, written: Iterable[str]) -> tuple[str, ...]:
    """The ids that these begin; where several begin so, the one that is parked.

    Raises DeadLetterError for one that no id or several begin with, or a short one.
    """
    return tuple([await _whole_id(store, each) for each in dict.fromkeys(written)])


async def _whole_id(store: Database, written: str) -> str:
    beginning = written.lower()
    if len(beginning) < SHORTEST:
        raise DeadLetterError(f"{written!r} is too short for a dead letter's id: give at least {SHORTEST} characters")
    found = await ids_beginning(store, beginning, _MOST_ALIKE)
    if not found:
        raise DeadLetterError(f"there is no dead letter {written!r}: {_WHERE_IDS_ARE}")
    if len(found) > 1 and beginning not in found:
        return await _parked_one(store, written, found)
    return found[0]


async def _parked_one(store: Database, written: str, found: Sequence[str]) -> str:
    """The only one of these that is parked: of the others nobody was told, and nothing can be done with them."""
    parked = [each.id for each in await find_any(store, found) if each.state is AsideState.PARKED]
    if len(parked) == 1:
        return parked[0]
    alike = sorted(parked or found)
    most = max(starmap(_shared, pairwise(alike)))
    raise DeadLetterError(
        f"{written!r} begins several dead letters, as {alike[0]} and {alike[1]}: give more of it, {most + 1} "
        "characters tell all of these apart"
    )


def _shared(one: str, other: str) -> int:
    """How many characters of two ids are the same before they differ."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


_WHERE_IDS_ARE = "antiphon dead-letters list shows their ids; one that was handled or dropped is gone"


async def letter_of(store: Database, written: str) -> StoredLetter:
    """The dead letter that this id begins, parked or on its way again. Raises DeadLetterError."""
    (id,) = await whole_ids(store, [written])
    found = await find_any(store, [id])
    if not found:
        raise DeadLetterError(f"there is no dead letter {written!r} any more: {_WHERE_IDS_ARE}")
    return found[0]


async def choose(store: Database, query: LetterQuery, limit: int | None = None) -> Chosen:
    """The first `limit` dead letters that fit; the ids in `query` may be beginnings.

    Raises DeadLetterError for an id that is unknown, and when one of the letters is on its way again or being redriven.
    """
    query = replace(query, ids=await whole_ids(store, query.ids))
    found = await outline(store, query, _NO_LIMIT)
    chosen = found if limit is None else found[:limit]
    for letter in chosen:
        require_idle(letter)
    return Chosen(tuple(chosen), len(found) - len(chosen))


def require_idle(letter: StoredLetter | LetterOutline) -> None:
    """Raise DeadLetterError when it is being redriven, or no dead letter any more, as it is on its way again."""
    if letter.busy is not None:
        mend = f"wait for it, or stop it: antiphon dead-letters retry --stop {letter.busy}"
        raise DeadLetterError(f"dead letter {letter.id} is being redriven by {letter.busy}: {mend}")
    if letter.state is not AsideState.PARKED:
        raise DeadLetterError(f"dead letter {letter.id} {_WHERE[letter.state]}: wait for what becomes of it")


_WHERE = {
    AsideState.DELAYED: "is not parked any more and is tried again soon",
    AsideState.BEHIND: "is not parked any more and waits behind another one of its key",
}
