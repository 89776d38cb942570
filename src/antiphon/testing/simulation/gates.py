"""What may one process handle now? Nothing that a breaker, a rate limit or an operator stopped."""

from __future__ import annotations

from collections import Counter

from antiphon.observability.hooks import CircuitChanged
from antiphon.resilience import RateLimit
from antiphon.runtime.route import Mode, Route
from antiphon.testing.simulation.record import Entry, Sight
from antiphon.testing.simulation.world import World

Place = tuple[str, str]
"""Group and topic."""


class StoppedTopics:
    """What is stopped in one process, as the simulator sees it from outside."""

    def __init__(self, world: World) -> None:
        self._world, self._born = world, world.clock.monotonic()
        self._routes: dict[Place, Route] = {}
        self._open_until: dict[Place, float] = {}
        self._begun: Counter[Place] = Counter()
        self._successes: Counter[Place] = Counter()
        self._failed_at: dict[tuple[Place, str], int] = {}
        """How many had succeeded when a message failed last."""
        self._to_blame: set[tuple[Place, str]] = set()
        self.paused: set[Place] = set()
        """What this process knows to be paused."""

    def know(self, group: str, route: Route) -> None:
        """Learn of a route; its gate is asked when something runs."""
        self._routes[group, route.codec.declaration.topic] = route

    def changed(self, group: str, told: CircuitChanged) -> None:
        """A circuit opened, or goes on."""
        place = group, told.topic
        gate = self._routes[place].gate
        if told.state == "open" and gate is not None and gate.circuit is not None:
            self._open_until[place] = self._now() + gate.circuit.breaker.rest.total_seconds()
        else:
            self._open_until.pop(place, None)
        self._world.trace.note(f"the breaker of {told.topic} is {told.state} in {group}")

    def check(self, group: str, sight: Sight, entry: Entry) -> None:
        """An attempt begins: may it?"""
        place, told = (group, entry.topic), f"{group}/{sight.handler} {entry}"
        gate = self._routes[place].gate
        if gate is not None and gate.circuit is not None:
            self._world.record.breakers.add(place)
        # What is let into a thread begins a moment later, whatever happens in between.
        if place in self.paused and sight.mode is not Mode.THREAD:
            self._world.trace.fail(f"{told} begins while its topic is paused")
        if self._is_open(place) and sight.mode is not Mode.THREAD:
            self._world.trace.fail(f"{told} begins while the breaker of its topic is open")
        if not self._is_within_rate(place):
            self._world.trace.fail(f"{told} begins, beyond the rate limit of its topic")

    def succeeded(self, group: str, entry: Entry) -> None:
        """An attempt succeeded."""
        self._successes[group, entry.topic] += 1

    def failed(self, group: str, entry: Entry) -> None:
        """An attempt failed: the message is to blame itself if it failed before, and others succeeded since."""
        place, case = (group, entry.topic), ((group, entry.topic), entry.identity)
        before = self._failed_at.get(case)
        self._failed_at[case] = self._successes[place]
        if before is not None and before < self._successes[place]:
            self._to_blame.add(case)
        else:
            self._to_blame.discard(case)

    def check_counted(self, group: str, entry: Entry, told: str) -> None:
        """A failure counts as an attempt: not while the breaker is open, unless the message is to blame itself."""
        place = group, entry.topic
        if self._is_open(place) and (place, entry.identity) not in self._to_blame:
            self._world.trace.fail(f"{told}: counts as an attempt while the breaker of its topic is open")

    def _is_within_rate(self, place: Place) -> bool:
        gate = self._routes[place].gate
        if gate is None or gate.rate is None:
            return True
        self._begun[place] += 1
        return self._begun[place] <= _most(gate.rate.limit, self._now() - self._born)

    def _is_open(self, place: Place) -> bool:
        return self._now() < self._open_until.get(place, 0.0)

    def _now(self) -> float:
        return self._world.clock.monotonic()


def _most(limit: RateLimit, seconds: float) -> float:
    """How many may have begun after so many seconds."""
    return limit.at_once + seconds * limit.messages / limit.per.total_seconds() + 1e-6
