"""Which redrives are there, and which dead letters have they taken, let go and taken back?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import IntEnum
from typing import NamedTuple

import msgspec
from msgspec import Struct

from antiphon.storage.database import Database, Transaction
from antiphon.storage.dead_letters import RedriveState
from antiphon.storage.moments import moment, time_of
from antiphon.storage.queries import load_queries
from antiphon.storage.set_aside import take_turn

_SQL = load_queries("antiphon.storage", "sql/redrives.sql")
_MICROSECOND = timedelta(microseconds=1)


class RedriveStatus(IntEnum):
    """How a redrive is."""

    RUNNING = 0
    STOPPED = 1
    """What it had not released waits, parked, until it is resumed."""
    DONE = 2
    """All were handled, or given up again."""


class Redrive(Struct, frozen=True, kw_only=True):
    """Dead letters that are sent again together, as they were told to be, and how far that is.

    `spacing` lies between two releases; `next_at` is the first moment for the next one. The first `canaries` go alone:
    until they are handled, no more than `canaries_until` are released. It stops when `stop_after` of the released were
    given up again, or one canary; the `failures_before` it was last resumed do not count. `gone` left it unhandled:
    they were dropped, or taken by another redrive. `step` grows with each change.
    """

    id: str
    started_at: datetime
    started_by: str
    total: int
    spacing: timedelta
    next_at: datetime
    canaries: int = 0
    canaries_until: int = 0
    stop_after: int
    failures_before: int = 0
    status: RedriveStatus = RedriveStatus.RUNNING
    released: int = 0
    gone: int = 0
    step: int = 0
    ended_at: datetime | None = None
    note: str = ""


class Standing(Struct, frozen=True):
    """A redrive, and how many of its letters wait for their turn, are on their way, and were given up again."""

    redrive: Redrive
    waiting: int
    under_way: int
    failed: int

    @property
    def handled(self) -> int:
        """How many are handled."""
        return self.redrive.total - self.redrive.gone - self.waiting - self.under_way - self.failed


class Release(NamedTuple):
    """A letter to be let go, and when it is due."""

    number: int
    due_at: datetime


async def taken_already(store: Database | Transaction, numbers: Sequence[int]) -> int:
    """How many of these are no dead letters any more, or wait in a redrive that runs."""
    chosen = _json(numbers)
    (parked,) = await store.fetch(_SQL["parked"], chosen, row=int)
    (busy,) = await store.fetch(_SQL["busy"], chosen, row=int)
    return len(set(numbers)) - parked + busy


async def begin_redrive(tx: Transaction, redrive: Redrive, numbers: Sequence[int]) -> None:
    """Let `redrive` take these letters when `tx` commits, away from stopped ones that had them; check them before."""
    chosen = _json(numbers)
    await tx.execute(_SQL["note_leaving"], chosen)
    await tx.execute(_SQL["leave"], chosen)
    await tx.execute(_SQL["take"], redrive.id, chosen)
    await tx.execute(
        _SQL["insert"],
        redrive.id,
        redrive.started_at.isoformat(),
        redrive.started_by,
        redrive.total,
        redrive.canaries,
        redrive.stop_after,
        redrive.spacing // _MICROSECOND,
        moment(redrive.next_at),
    )


async def leave_redrives(tx: Transaction, numbers: Sequence[int]) -> None:
    """Note that these letters leave the redrives that had taken them; called before they are dropped."""
    chosen = _json(numbers)
    await tx.execute(_SQL["note_leaving"], chosen)
    await tx.execute(_SQL["leave"], chosen)
    await tx.execute(_SQL["note_failed_leaving"], chosen)


async def standing_of(store: Database | Transaction, id: str) -> Standing | None:
    """How the redrive stands; None when there is none of that id."""
    rows = await store.fetch(_SQL["get"], id, row=_Row)
    return await _standing(store, rows[0]) if rows else None


async def list_redrives(store: Database | Transaction, limit: int = 100) -> list[Standing]:
    """How the last `limit` redrives stand, the newest first."""
    return [await _standing(store, row) for row in await store.fetch(_SQL["list"], limit, row=_Row)]


async def running_redrives(store: Database | Transaction) -> list[str]:
    """The ids of those that run; one cheap read."""
    return await store.fetch(_SQL["running"], row=str)


async def waiting_letters(tx: Transaction, id: str, limit: int) -> list[int]:
    """The numbers of the next `limit` letters of a redrive that wait for their turn."""
    return await tx.fetch(_SQL["waiting"], id, limit, row=int)


async def release_letters(tx: Transaction, id: str, releases: Sequence[Release]) -> None:
    """Let these letters of a redrive go, out of those in which they failed before."""
    await take_turn(tx)
    chosen = _json([number for number, _ in releases])
    await tx.execute(_SQL["leave"], chosen)
    await tx.execute(_SQL["note_failed_leaving"], chosen)
    together: defaultdict[datetime, list[int]] = defaultdict(list)
    for number, due_at in releases:
        together[due_at].append(number)
    await tx.execute_many(
        _SQL["release"], [(moment(due_at), _json(numbers), id) for due_at, numbers in together.items()]
    )


async def take_back(tx: Transaction, id: str, now: datetime) -> int:
    """Park what a redrive released and nobody has in hand, to wait for its turn again; returns how many."""
    await take_turn(tx)
    numbers = await tx.fetch(_SQL["take_back"], id, moment(now), row=int)
    await tx.execute(_SQL["take"], id, _json(numbers))
    return len(numbers)


async def change_redrive(tx: Transaction, redrive: Redrive) -> bool:
    """Keep a redrive as it is now, if it was not changed since it was read; false, and nothing changed, if it was."""
    changed = await tx.fetch(
        _SQL["change"],
        redrive.id,
        redrive.step,
        redrive.status,
        redrive.released,
        moment(redrive.next_at),
        redrive.canaries_until,
        redrive.failures_before,
        None if redrive.ended_at is None else redrive.ended_at.isoformat(),
        redrive.note,
    )
    return bool(changed)


class _Row(NamedTuple):
    id: str
    started_at: datetime
    started_by: str
    status: RedriveStatus
    total: int
    released: int
    gone: int
    canaries: int
    canaries_until: int
    stop_after: int
    failures_before: int
    spacing: int
    next_at: int
    step: int
    ended_at: datetime | None
    note: str


async def _standing(store: Database | Transaction, row: _Row) -> Standing:
    values = row._asdict()
    values["spacing"] = row.spacing * _MICROSECOND
    values["next_at"] = time_of(row.next_at)
    counts = dict(await store.fetch(_SQL["counts"], row.id, row=tuple[RedriveState, int]))
    waiting, under_way, failed = (counts.get(state, 0) for state in _COUNTED)
    return Standing(Redrive(**values), waiting, under_way, failed)


_COUNTED = (RedriveState.WAITING, RedriveState.RELEASED, RedriveState.FAILED)


def _json(numbers: Sequence[int]) -> str:
    return msgspec.json.encode(numbers).decode()
