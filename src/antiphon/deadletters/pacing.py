"""What is to be done next for a redrive: wait, release some more, stop, or end it? Pure: it decides, others act."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct

from antiphon.storage.redrives import RedriveStatus, Standing

AHEAD = timedelta(seconds=1)
"""Letters are released when they are due within this; their due times then keep them apart."""
MOST_UNDER_WAY = 5_000
"""Released letters that are not handled yet, at most: what is beyond them can still be stopped."""
AT_ONCE = 2_000
"""Letters released in one transaction, at most, since everyone who writes waits for it."""
_NOTHING = timedelta()


class Wait(Struct, frozen=True):
    """Nothing to do now."""


class Finish(Struct, frozen=True):
    """Every letter was handled or given up again."""


class Stop(Struct, frozen=True):
    """Too many were given up again; `reason` says so in words."""

    reason: str


class Go(Struct, frozen=True):
    """Release the next few `letters`: the first is due at `first`, the others follow as the redrive is spaced."""

    letters: int
    first: datetime


Step = Wait | Finish | Stop | Go


def next_step(standing: Standing, now: datetime) -> Step:
    """What to do now. A redrive that does not run has nothing to do."""
    if standing.redrive.status is not RedriveStatus.RUNNING:
        return Wait()
    if not standing.waiting and not standing.under_way:
        return Finish()
    if reason := _why_stop(standing):
        return Stop(reason)
    count = min(_allowed(standing), AT_ONCE)
    return _paced(standing, count, now) if count > 0 else Wait()


def _why_stop(standing: Standing) -> str:
    redrive = standing.redrive
    failed = standing.failed - redrive.failures_before
    if failed > 0 and redrive.released <= redrive.canaries_until:
        return f"{failed} {'canary' if failed == 1 else 'canaries'} failed again"
    if failed >= redrive.stop_after:
        return f"{failed} {'letter' if failed == 1 else 'letters'} failed again"
    return ""


def _allowed(standing: Standing) -> int:
    """How many may be released, whatever the time."""
    redrive = standing.redrive
    count = min(standing.waiting, MOST_UNDER_WAY - standing.under_way)
    canaries = redrive.canaries_until - redrive.released
    if canaries > 0:
        return min(count, canaries)
    return 0 if canaries == 0 and redrive.canaries and standing.under_way else count


def _paced(standing: Standing, count: int, now: datetime) -> Step:
    spacing, first = standing.redrive.spacing, max(standing.redrive.next_at, now)
    if spacing <= _NOTHING:
        return Go(count, first)
    in_time = (now + AHEAD - first) // spacing + 1
    return Go(min(count, in_time), first) if in_time > 0 else Wait()
