"""`antiphon dead-letters retry`: send dead letters again, and `redrives`: how far is that?"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

import typer
from msgspec import structs

from antiphon.cli.dead_letters.asking import AllOption, chosen_letters, confirm, in_words
from antiphon.cli.dead_letters.options import ByOption, UncheckedOption, Where, Which, YesOption
from antiphon.cli.dead_letters.work import author
from antiphon.cli.failures import ExitCode
from antiphon.cli.messages import time_of
from antiphon.cli.option_sets import OptionSet, app_of
from antiphon.cli.options import ModulesOption
from antiphon.cli.output import print_json, print_text
from antiphon.cli.session import opened_store, run_async
from antiphon.deadletters.choosing import Chosen, forgotten
from antiphon.deadletters.redrive import Pace, found_redrive, resume_redrive, start_redrive, stop_redrive
from antiphon.deadletters.redriving import BUSY, Redriving
from antiphon.deadletters.serving import Serving, serving_of
from antiphon.errors import UsageError
from antiphon.events.amounts import show_duration
from antiphon.events.clock import SystemClock
from antiphon.runtime.settings import Settings
from antiphon.storage.letter_query import LetterQuery
from antiphon.storage.outbox import OUTBOX_GROUP
from antiphon.storage.redrives import RedriveStatus, Standing, list_redrives

_UNITS = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1)}


@dataclass(frozen=True, kw_only=True)
class Pacing(OptionSet):
    """How a redrive goes."""

    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="So many at most, the oldest first.", show_default=False)
    ] = None
    rate: Annotated[str, typer.Option("--rate", metavar="N/s|N/m|N/h|unlimited", help="How fast they are let go.")] = (
        "100/s"
    )
    canary: Annotated[
        int, typer.Option("--canary", metavar="N", min=0, help="First so many; the rest once all of these are handled.")
    ] = 0
    stop_after: Annotated[
        int,
        typer.Option("--stop-after", metavar="N", min=1, help="Stop when so many failed again; one canary is enough."),
    ] = 3

    def pace(self) -> Pace:
        """As the redrive takes it. Raises UsageError for a rate that is none."""
        return Pace(spacing=spacing_of(self.rate), canaries=self.canary, stop_after=self.stop_after)


@dataclass(frozen=True, kw_only=True)
class Steering(OptionSet):
    """What is to be done with a redrive that was begun, and whether to stay until its end."""

    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="REDRIVE", help="Go on with a redrive that stopped.", show_default=False),
    ] = None
    stop: Annotated[
        str | None, typer.Option("--stop", metavar="REDRIVE", help="Stop a redrive that runs.", show_default=False)
    ] = None
    wait: Annotated[bool, typer.Option("--wait", help="Follow it until it is done or stopped.")] = False


@dataclass(frozen=True, kw_only=True)
class Consent(OptionSet):
    """What needs no question."""

    everything: AllOption = False
    yes: YesOption = False
    unchecked: UncheckedOption = False


def spacing_of(rate: str) -> timedelta:
    """How far apart letters are at this rate. Raises UsageError."""
    count, slash, unit = rate.strip().partition("/")
    if rate.strip() == "unlimited":
        return timedelta()
    if not slash or unit not in _UNITS or not count.isdecimal() or int(count) < 1:
        raise UsageError(f"--rate {rate}: write 10/s, 600/m, 100/h, or unlimited")
    return _UNITS[unit] / int(count)


def retry(
    which: Which,
    pacing: Pacing,
    steering: Steering,
    consent: Consent,
    where: Where,
    by: ByOption = None,
    modules: ModulesOption = None,
) -> None:
    """Send dead letters again, to be handled by the services of their groups. They keep their ids.

    What the broker had refused is published by the relays. What waits behind them follows in order. Running services go
    on with it by themselves, whatever becomes of this command, and where none runs it begins when one starts; it stops
    by itself when too many fail again.
    """
    settings, query = where.settings(which.group), which.query()
    steers = steering.resume is not None or steering.stop is not None
    standing = (
        _steer(settings, query, steering, author(by).by)
        if steers
        else _begin(settings, query, pacing, consent, modules, author(by).by)
    )
    if standing is None:
        print_json(None) if where.as_json else print("no dead letter fits, so nothing is sent again")
        return
    if steering.wait:
        standing = _follow(settings, standing)
    _tell(settings, standing, as_json=where.as_json)
    if steering.wait and (standing.failed or standing.redrive.status is RedriveStatus.STOPPED):
        raise typer.Exit(ExitCode.FAILURE)


def _steer(settings: Settings, query: LetterQuery, steering: Steering, by: str) -> Standing:
    if (steering.resume is not None and steering.stop is not None) or not query.is_open:
        raise UsageError(
            "--resume and --stop are about one redrive and all of its letters: give nothing else with them"
        )

    async def steer() -> Standing:
        async with opened_store(settings) as (_, store):
            if steering.resume is not None:
                return await resume_redrive(store, SystemClock(), steering.resume)
            return await stop_redrive(store, SystemClock(), steering.stop or "", by)

    return run_async(steer())


def _begin(
    settings: Settings, query: LetterQuery, pacing: Pacing, consent: Consent, modules: list[str] | None, by: str
) -> Standing | None:
    """Begin a redrive of what fits; None when nothing does."""
    pace = pacing.pace()
    chosen = run_async(chosen_letters(settings, query, everything=consent.everything, limit=pacing.limit))
    if not chosen.letters:
        return None
    if chosen.for_handlers and not consent.unchecked and (modules or settings.modules):
        from antiphon.cli.dead_letters.reading import readers_of

        chosen.require_readers(readers_of(modules, settings))
    _ask(chosen, run_async(_forgotten(settings, chosen)), settings.common.keep_marks, yes=consent.yes)

    async def start() -> Standing:
        async with opened_store(settings) as (_, store):
            return await start_redrive(store, SystemClock(), chosen.numbers, pace, by)

    return run_async(start())


async def _forgotten(settings: Settings, chosen: Chosen) -> int:
    async with opened_store(settings) as (_, store):
        return await forgotten(store, chosen, SystemClock().now(), settings.common.keep_marks)


def _ask(chosen: Chosen, unknown: int, keep: timedelta, *, yes: bool) -> None:
    if unknown:
        were = "was" if unknown == 1 else "were"
        print(
            f"warning: {unknown} of them {were} parked more than {show_duration(keep)} ago: inboxes keep ids no "
            "longer, so what was handled meanwhile, as after a seek, would be handled twice",
            file=sys.stderr,
        )
    if len(chosen.letters) > 1 or unknown:
        confirm(f"Send {in_words(chosen)} again?", f"{in_words(chosen)} would be sent again", yes=yes)


async def _serving(settings: Settings, standing: Standing) -> Serving:
    async with opened_store(settings) as (_, store):
        return await serving_of(store, SystemClock(), standing.redrive.id)


def _follow(settings: Settings, standing: Standing) -> Standing:
    """Stay until it is done or stopped, telling how far it is; it needs no other runner to go on."""
    id = standing.redrive.id
    if standing.redrive.status is RedriveStatus.RUNNING and (serving := run_async(_serving(settings, standing))).idle:
        print(who_goes_on(standing, serving), file=sys.stderr, flush=True)

    async def follow() -> Standing:
        async with opened_store(settings) as (_, store):
            told = ""
            runner = Redriving(store, SystemClock())
            while True:
                await runner.work()
                standing = await found_redrive(store, id)
                if standing.redrive.status is not RedriveStatus.RUNNING:
                    return standing
                if (line := progress(standing)) != told:
                    print(line, file=sys.stderr, flush=True)
                    told = line
                await asyncio.sleep(BUSY.total_seconds())

    return run_async(follow())


def progress(standing: Standing) -> str:
    """How far it is, in one line."""
    gone = standing.redrive.gone
    left = f", {gone} dropped or taken by another redrive" if gone else ""
    return (
        f"{standing.handled} of {standing.redrive.total} handled, {standing.under_way} on their way, "
        f"{standing.waiting} waiting, {standing.failed} failed again{left}"
    )


def who_goes_on(standing: Standing, serving: Serving) -> str:
    """By whom a redrive that runs is worked off, and where nobody does it yet."""
    told = [] if serving.idle and not serving.running else ["running services go on with it"]
    if serving.idle:
        what = f"{'its part' if told else 'it'} {'goes on' if standing.handled else 'begins'}"
        told.append(f"{_nobody(serving.idle)} runs: {what} when one starts")
    return "; ".join(told)


def _nobody(idle: Sequence[str]) -> str:
    groups = [group for group in idle if group != OUTBOX_GROUP]
    services = [f"no service of {', '.join(groups)}"] if groups else []
    return " and ".join([*services, *(["no relay"] if OUTBOX_GROUP in idle else [])])


def _tell(settings: Settings, standing: Standing, *, as_json: bool) -> None:
    redrive = standing.redrive
    runs = redrive.status is RedriveStatus.RUNNING
    serving = run_async(_serving(settings, standing)) if runs else Serving((), ())
    if as_json:
        print_json(_in_json(standing) | {"without_service": serving.idle})
        return
    print(_line(standing))
    if runs:
        print(f"{who_goes_on(standing, serving)}; antiphon dead-letters redrives {redrive.id} says how far it is")
    elif redrive.status is RedriveStatus.STOPPED:
        print(f"go on with antiphon dead-letters retry --resume {redrive.id}")


def _line(standing: Standing) -> str:
    redrive = standing.redrive
    why = f" ({redrive.note})" if redrive.note else ""
    return f"redrive {redrive.id} {_STATUS[redrive.status]}{why}: {progress(standing)}"


_STATUS = {RedriveStatus.RUNNING: "runs", RedriveStatus.STOPPED: "is stopped", RedriveStatus.DONE: "is done"}


def redrives(
    where: Where,
    id: Annotated[str | None, typer.Argument(metavar="[REDRIVE]", help="Only this one.", show_default=False)] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at most, the newest first.")] = 20,
) -> None:
    """Show the redrives and how far they are, the newest first."""
    found = run_async(_redrives(where.settings(), id, limit))
    if where.as_json:
        print_json([_in_json(each) for each in found])
    elif id is not None:
        _tell(where.settings(), found[0], as_json=False)
    elif found:
        print_text("\n".join(line for each in found for line in _lines(each)))
    else:
        print("no redrives yet")


def _lines(standing: Standing) -> tuple[str, str]:
    redrive = standing.redrive
    ended = f", ended {time_of(redrive.ended_at)}" if redrive.ended_at else ""
    return _line(standing), f"    begun {time_of(redrive.started_at)} by {redrive.started_by}{ended}"


async def _redrives(settings: Settings, id: str | None, limit: int) -> list[Standing]:
    async with opened_store(settings) as (_, store):
        return await list_redrives(store, limit) if id is None else [await found_redrive(store, id)]


def _in_json(standing: Standing) -> dict[str, object]:
    redrive = structs.asdict(standing.redrive)
    shown = (
        "id",
        "started_at",
        "started_by",
        "total",
        "released",
        "gone",
        "canaries",
        "stop_after",
        "ended_at",
        "note",
    )
    counts = {"handled": standing.handled, "under_way": standing.under_way, "waiting": standing.waiting}
    status = {"status": standing.redrive.status.name.lower(), "failed": standing.failed}
    return {**{name: redrive[name] for name in shown}, **status, **counts}


retry_app, redrives_app = app_of(retry), app_of(redrives)
