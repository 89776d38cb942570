"""Which services run in which processes now, and which messages were in work when one died?"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from antiphon.storage.database import Database, Transaction
from antiphon.storage.moments import moment, time_of
from antiphon.storage.queries import load_queries

_SQL = load_queries("antiphon.storage", "sql/runs.sql")
SILENCE = timedelta(seconds=60)
"""A process of another machine that has not been heard of for so long is taken for dead."""


class Process(Struct, frozen=True):
    """One process of one machine, told apart from every other one that had or will have its number."""

    host: str
    pid: int
    began: str

    @classmethod
    def own(cls) -> Process:
        """This one."""
        return cls(_host(), os.getpid(), _began(os.getpid()))

    def is_dead(self, heard_of: datetime, now: datetime) -> bool:
        """Whether it has ended: seen at once on this machine, and by its silence elsewhere."""
        if self.host != _host():
            return now - heard_of > SILENCE
        return _began(self.pid) != self.began


class Run(Struct, frozen=True, kw_only=True):
    """A service in one process, from its start to its stop, with what it said of itself last."""

    id: str
    group: str
    service: str
    process: Process
    started_at: datetime
    heard_of: datetime
    status: Mapping[str, object]


class Suspects(NamedTuple):
    """Messages that may have killed a process, each with how often one died while it was attempted alone."""

    crashes: Mapping[str, int]
    found_at: datetime | None
    """When a process of the group was last found dead."""


async def begin_run(tx: Transaction, run: Run) -> None:
    """Say that a service runs here, when `tx` commits."""
    process = run.process
    beat, began = moment(run.heard_of), run.started_at.isoformat()
    await tx.execute(
        _SQL["begin"], run.id, run.group, run.service, process.host, process.pid, process.began, began, beat
    )


async def beat(tx: Transaction, id: str, now: datetime, status: Mapping[str, object]) -> bool:
    """Say that it still runs, and how it is; false when it is off the list, since others took it for dead."""
    return bool(await tx.fetch(_SQL["beat"], moment(now), msgspec.json.encode(status).decode(), id))


async def note_working(tx: Transaction, id: str, identities: Iterable[str], *, alone: bool) -> None:
    """Say which messages are attempted now, before they are."""
    await tx.execute(_SQL["working"], msgspec.json.encode(list(identities)).decode(), int(alone), id)


async def end_run(tx: Transaction, id: str) -> None:
    """Say that it ended well. Twice is safe."""
    await tx.execute(_SQL["end"], id)


async def list_runs(store: Database | Transaction, group: str | None = None) -> Sequence[Run]:
    """The runs that have not said that they ended, the oldest first; of one group or of all."""
    return [
        Run(
            id=row.id,
            group=row.group,
            service=row.service,
            process=Process(row.host, row.pid, row.process),
            started_at=row.started_at,
            heard_of=time_of(row.beat_at),
            status=msgspec.json.decode(row.status, type=dict[str, object]),
        )
        for row in await store.fetch(_SQL["runs"], group, row=_Row)
    ]


async def bury(tx: Transaction, run: Run, now: datetime) -> int:
    """Take a dead run off the list, and suspect what it was at; returns how many messages that was.

    What it had claimed of what is set aside, under its id, is free at once.
    One that it attempted alone has a crash more; of several it is not known which one it was. Twice is safe. One that
    was heard of since it was listed is left alone.
    """
    rows = await tx.fetch(_SQL["take_dead"], run.id, moment(run.heard_of), row=tuple[str, int])
    if not rows:
        return 0
    ((working, alone),) = rows
    await tx.execute(_SQL["release_claims"], run.group, run.id)
    identities = msgspec.json.decode(working, type=list[str])
    found = moment(now)
    suspects = [(run.group, identity, alone, found) for identity in identities]
    await tx.execute_many(_SQL["suspect"], [(run.group, "", 0, found), *suspects])
    return len(identities)


async def suspects_of(store: Database | Transaction, group: str) -> Suspects:
    """What a group has to be careful with."""
    rows = await store.fetch(_SQL["suspects"], group, row=tuple[str, int, int])
    found_at = next((time_of(found) for identity, _, found in rows if not identity), None)
    return Suspects({identity: crashes for identity, crashes, _ in rows if identity}, found_at)


async def clear(tx: Transaction, group: str, identity: str) -> None:
    """This message is innocent: it was attempted alone, and the process lives."""
    await tx.execute(_SQL["clear"], group, identity)


async def forget_suspects(tx: Transaction, group: str, before: datetime) -> None:
    """Suspect no more what was found before that moment."""
    await tx.execute(_SQL["forget"], group, moment(before))


class _Row(NamedTuple):
    id: str
    group: str
    service: str
    host: str
    pid: int
    process: str
    started_at: datetime
    beat_at: int
    status: str


def _host() -> str:
    """This machine, since it was started: elsewhere, and before, the same number meant another process.

    So it does in another container, even where that has the machine's own name.
    """
    boot = space = ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        space = str(Path("/proc/self/ns/pid").readlink())
    return f"{socket.gethostname()}/{boot}/{space}"


def _began(pid: int) -> str:
    """When the process of this number began, in its machine's own words; empty when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return _is_there(pid)
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state in ("Z", "X") else fields[18]


def _is_there(pid: int) -> str:
    """Where the machine does not tell when: whether it is there at all."""
    if Path("/proc/self").exists():
        return ""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return "some time"
    except OSError:
        return ""
    return "some time"
