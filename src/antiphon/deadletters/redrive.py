"""How is a redrive begun, stopped, resumed and moved on? Each change is one transaction, made once whoever tries it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from antiphon.deadletters.pacing import Finish, Go, Step, Stop, Wait, next_step
from antiphon.deadletters.turns import in_turn
from antiphon.errors import DeadLetterError, StoreError
from antiphon.events.clock import Clock
from antiphon.events.ids import new_id
from antiphon.storage.database import Database, Transaction
from antiphon.storage.redrives import (
    Redrive,
    RedriveStatus,
    Release,
    Standing,
    begin_redrive,
    change_redrive,
    list_redrives,
    release_letters,
    standing_of,
    take_back,
    taken_already,
    waiting_letters,
)

_ONE, _HALF_OF_AN_ID = timedelta(microseconds=1), 12


class Pace(Struct, frozen=True, kw_only=True):
    """How a redrive goes: `spacing` between two letters, so many `canaries` first, and when it stops by itself.

    With canaries the rest waits until all of them are handled; one that fails again stops it. Otherwise it stops when
    `stop_after` letters failed again.
    """

    spacing: timedelta = timedelta(milliseconds=10)
    canaries: int = 0
    stop_after: int = 3

    def __post_init__(self) -> None:
        if self.spacing < timedelta():
            raise DeadLetterError(f"letters cannot be {self.spacing} apart: give a time of zero or more")
        if self.canaries < 0 or self.stop_after < 1:
            raise DeadLetterError(
                f"{self.canaries} canaries, stopping after {self.stop_after} failures: give no canaries or more, and "
                "one failure or more"
            )


async def start_redrive(store: Database, clock: Clock, numbers: Sequence[int], pace: Pace, by: str) -> Standing:
    """Let these dead letters be handled again by the services of their groups; returns once it is certain.

    All of them or, with DeadLetterError, none: one may have been handled, dropped or taken since it was chosen.
    Services go on with it by themselves, whoever began it.
    """
    if not numbers:
        raise DeadLetterError(
            "no dead letter fits, so there is nothing to redrive; antiphon dead-letters list shows all"
        )
    now, numbers = clock.now(), sorted(set(numbers))
    redrive = Redrive(
        id=new_id()[-_HALF_OF_AN_ID:],
        started_at=now,
        started_by=by,
        total=len(numbers),
        spacing=pace.spacing,
        next_at=now,
        canaries=pace.canaries,
        canaries_until=pace.canaries,
        stop_after=pace.stop_after,
    )
    await in_turn(store, partial(_begin, redrive=redrive, numbers=numbers))
    return await _begun(store, clock, Standing(redrive, waiting=len(numbers), under_way=0, failed=0))


async def _begin(tx: Transaction, redrive: Redrive, numbers: Sequence[int]) -> None:
    if taken := await taken_already(tx, numbers):
        raise DeadLetterError(
            f"{taken} of {len(numbers)} letters are being redriven, or are no dead letters any more: nothing was "
            "changed; antiphon dead-letters redrives says which redrives run, and --stop ends one"
        )
    await begin_redrive(tx, redrive, numbers)


async def _begun(store: Database, clock: Clock, standing: Standing) -> Standing:
    """How it stands after its first step. What keeps that waiting is no failure: it is begun, and services go on."""
    try:
        await advance(store, clock, standing.redrive.id)
        return await found_redrive(store, standing.redrive.id)
    except StoreError as error:
        if not error.retryable:
            raise
        return standing


async def advance(store: Database, clock: Clock, id: str) -> bool:
    """Do one thing that is due for a redrive, once however many try; false when there was nothing to do."""
    standing = await found_redrive(store, id)
    if isinstance(next_step(standing, clock.now()), Wait):
        return False
    step = await in_turn(store, partial(_take_step, id=id, clock=clock))
    return not isinstance(step, Wait)


async def _take_step(tx: Transaction, id: str, clock: Clock) -> Step:
    standing = await found_redrive(tx, id)
    redrive, step = standing.redrive, next_step(standing, clock.now())
    if isinstance(step, Finish):
        await _change(tx, replace(redrive, status=RedriveStatus.DONE, ended_at=clock.now()))
    elif isinstance(step, Stop):
        await _stop(tx, redrive, step.reason, clock)
    elif isinstance(step, Go):
        await _release(tx, redrive, step)
    return step


async def _release(tx: Transaction, redrive: Redrive, go: Go) -> None:
    numbers = await waiting_letters(tx, redrive.id, go.letters)
    dues = [go.first + index * redrive.spacing for index in range(len(numbers))]
    await release_letters(tx, redrive.id, list(map(Release, numbers, dues)))
    next_at = go.first + len(numbers) * redrive.spacing
    await _change(tx, replace(redrive, released=redrive.released + len(numbers), next_at=next_at))


async def _stop(tx: Transaction, redrive: Redrive, note: str, clock: Clock) -> None:
    back = await take_back(tx, redrive.id, clock.now())
    stopped = replace(redrive, status=RedriveStatus.STOPPED, released=redrive.released - back, note=note)
    await _change(tx, replace(stopped, ended_at=clock.now()))


async def stop_redrive(store: Database, clock: Clock, id: str, by: str) -> Standing:
    """Release nothing more, and park again what was released and is in nobody's hands. What is, is handled to its end.

    Raises DeadLetterError when there is no such redrive, or it does not run.
    """

    async def stop(tx: Transaction) -> Standing:
        standing = await found_redrive(tx, id)
        _require(standing, RedriveStatus.RUNNING, "stopped")
        await _stop(tx, standing.redrive, f"by {by}", clock)
        return await found_redrive(tx, id)

    return await in_turn(store, stop)


async def resume_redrive(store: Database, clock: Clock, id: str) -> Standing:
    """Go on with what waits, canaries first again where there were any; what failed again stays parked.

    Raises DeadLetterError when there is no such redrive, or it was not stopped.
    """
    return await _begun(store, clock, await in_turn(store, partial(_resume, id=id, clock=clock)))


async def _resume(tx: Transaction, id: str, clock: Clock) -> Standing:
    standing = await found_redrive(tx, id)
    _require(standing, RedriveStatus.STOPPED, "resumed")
    redrive = standing.redrive
    resumed = replace(
        redrive,
        status=RedriveStatus.RUNNING,
        next_at=clock.now(),
        canaries_until=redrive.released + redrive.canaries if redrive.canaries else 0,
        failures_before=standing.failed,
        ended_at=None,
        note="",
    )
    await _change(tx, resumed)
    return replace(standing, redrive=resumed)


async def found_redrive(store: Database | Transaction, id: str) -> Standing:
    """How the redrive of this id stands. Raises DeadLetterError when there is none."""
    standing = await standing_of(store, id)
    if standing is None:
        known = ", ".join(each.redrive.id for each in await list_redrives(store, 5)) or "none yet"
        raise DeadLetterError(f"there is no redrive {id!r}; the last ones are {known}")
    return standing


def _require(standing: Standing, status: RedriveStatus, verb: str) -> None:
    redrive = standing.redrive
    if redrive.status is not status:
        is_now = {RedriveStatus.RUNNING: "runs", RedriveStatus.STOPPED: "is stopped", RedriveStatus.DONE: "is done"}
        raise DeadLetterError(f"redrive {redrive.id} {is_now[redrive.status]}, so it cannot be {verb}")


async def _change(tx: Transaction, redrive: Redrive) -> None:
    """Keep it. On a store with one writer nobody can have come between; elsewhere the transaction is undone."""
    if not await change_redrive(tx, redrive):
        raise DeadLetterError(f"redrive {redrive.id} was changed by somebody else at the same moment: try again")
