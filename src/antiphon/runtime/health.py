"""Is this process alive, and does it get on: heartbeats of its parts, and what they say together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import NamedTuple

from msgspec import Struct

_MINUTE = timedelta(seconds=60)


class Pulse:
    """The heartbeat of one part, such as fetching. It can only stall while it is `busy`: while it has work."""

    __slots__ = ("_last", "_monotonic", "busy", "limit", "name", "trouble")

    def __init__(self, name: str, limit: timedelta, monotonic: Callable[[], float]) -> None:
        self.name, self.limit = name, limit
        self._monotonic = monotonic
        self._last = monotonic()
        self.busy = False
        self.trouble = ""
        """What kept it from getting on at its last try."""

    def beat(self) -> None:
        """It got on: once for each fetch that returned, each batch settled. Cheap."""
        self._last = self._monotonic()
        self.trouble = ""

    def begin(self) -> None:
        """It has something to do from now on; the time before does not count. Again while busy, nothing changes."""
        if not self.busy:
            self.busy = True
            self.beat()

    def rest(self) -> None:
        """It has nothing to do, and is not asked to beat."""
        self.busy = False
        self.trouble = ""

    @property
    def age(self) -> timedelta:
        """How long ago it got on."""
        return timedelta(seconds=max(0.0, self._monotonic() - self._last))

    @property
    def is_stalled(self) -> bool:
        return self.busy and self.age > self.limit


class PartHealth(Struct, frozen=True):
    """What one part says: how long ago it got on, how long that may be, and what is in its way, as far as it knows."""

    service: str
    part: str
    stalled: bool
    busy: bool
    seconds_ago: float
    limit_seconds: float
    trouble: str = ""


class Outage(NamedTuple):
    """Since when a store is away, by the monotonic clock, and why."""

    since: float
    reason: str


class HealthReport(Struct, frozen=True):
    """What a probe is told: `ok`, in one word how it is, and each part."""

    ok: bool
    status: str
    parts: tuple[PartHealth, ...] = ()
    problems: tuple[str, ...] = ()


class ServiceHealth:
    """How one service is: it is ready once it was started, until it drains, while no part stalls and no store is away.

    The runtime beats each part as it gets on; one that is not busy cannot stall. A handler that takes long stalls
    nothing, except in a shared transaction, where others wait for it.
    """

    def __init__(
        self, service: str, stall_after: timedelta = _MINUTE, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.service = service
        self.state = "starting"
        self.fetching = Pulse("fetching", stall_after, monotonic)
        self.settling = Pulse("settling", stall_after, monotonic)
        self.committing = Pulse("committing", stall_after, monotonic)
        self.publishing = Pulse("publishing", stall_after, monotonic)
        self.loop = Pulse("event loop", stall_after, monotonic)
        self._monotonic = monotonic
        self.away: dict[str, Outage] = {}
        """Stores that are away, by URL."""

    def allow(self, stall_after: timedelta) -> None:
        """Let every part stand still for so long."""
        for pulse in self.pulses:
            pulse.limit = stall_after

    @property
    def pulses(self) -> tuple[Pulse, ...]:
        return (self.loop, self.fetching, self.committing, self.publishing, self.settling)

    def outages(self) -> tuple[str, ...]:
        """Which stores are away, for how long and why; asked from any thread."""
        now = self._monotonic()
        return tuple(
            f"the store {url} has been away for {now - since:.1f} s: {reason}"
            for url, (since, reason) in dict(self.away).items()
        )

    def parts(self) -> tuple[PartHealth, ...]:
        return tuple(
            PartHealth(
                self.service,
                pulse.name,
                pulse.is_stalled,
                pulse.busy,
                round(pulse.age.total_seconds(), 3),
                pulse.limit.total_seconds(),
                pulse.trouble,
            )
            for pulse in self.pulses
        )


def liveness(services: Iterable[ServiceHealth]) -> HealthReport:
    """Red only when an event loop stands still: restarting the process is then the only cure."""
    parts = tuple(part for one in services for part in one.parts() if part.part == "event loop")
    stalled = tuple(_stalled(part) for part in parts if part.stalled)
    return HealthReport(not stalled, "stalled" if stalled else "alive", parts, stalled)


def readiness(services: Iterable[ServiceHealth]) -> HealthReport:
    """Red while a service starts or drains, its store is away, or a part stalls past its limit; it says which."""
    found = list(services)
    parts = tuple(part for one in found for part in one.parts())
    problems = [f"{one.service} is {one.state}" for one in found if one.state != "running"]
    problems += [f"{one.service}: {outage}" for one in found for outage in one.outages()]
    problems += [_stalled(part) for part in parts if part.stalled]
    return HealthReport(not problems, "not ready" if problems else "ready", parts, tuple(problems))


def _stalled(part: PartHealth) -> str:
    told = f"{part.service}: {part.part} has not got on for {part.seconds_ago:.1f} s (limit {part.limit_seconds:.0f} s)"
    return f"{told}: {part.trouble}" if part.trouble else told
