"""Which topics may be handled now: a breaker, a rate limit or an operator can stop one, and then nothing is lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Protocol

from antiphon.events.clock import Clock
from antiphon.resilience import Breaker, CircuitState, RateLimit
from antiphon.runtime.claims import claim_of
from antiphon.runtime.gate import Gate
from antiphon.runtime.window import RELEASED
from antiphon.runtime.work import Work

log = logging.getLogger("antiphon.runtime")

_LONG = timedelta(hours=1)
_LOOK = timedelta(seconds=1)
"""Between two looks at a topic that is shut: what was let in may have been lost since, and another may go."""


class Watching(Protocol):
    """Who is told what becomes of a topic's gate."""

    def circuit_changed(self, topic: str, state: CircuitState, reason: str | None) -> None: ...

    def circuit_begins(self, topic: str) -> None: ...

    def waits_for_rate(self, topic: str) -> None: ...


class Holding(Protocol):
    """Who keeps works in hand until their topic goes on."""

    def hold(self, work: Work) -> None: ...

    def release(self, topic: str) -> None: ...


class Gates:
    """The gates of one consumer's topics. A topic that is stopped keeps its partitions and its place in the group."""

    def __init__(self, clock: Clock, holding: Holding, watching: Watching) -> None:
        self._clock, self._holding, self._watching = clock, holding, watching
        self._gates: dict[str, Gate] = {}
        self.special: set[str] = set()
        """Topics whose messages must each be asked for: looked at before each message."""
        self.shut_topic: Callable[[str], None] = lambda topic: None
        self.open_topic: Callable[[str], None] = lambda topic: None
        self.went_back: Callable[[], None] = lambda: None
        self._news = asyncio.Event()
        self._told: dict[str, str] = {}

    def declare(self, topics: Iterable[str], breakers: Mapping[str, Breaker], limits: Mapping[str, RateLimit]) -> None:
        """Make a gate for each topic, once, at start."""
        for topic in topics:
            gate = Gate(topic, breakers.get(topic), limits.get(topic), self._clock.monotonic)
            self._gates[topic] = gate
            self._look(gate)
            if gate.circuit is not None:
                self._watching.circuit_begins(topic)

    def of(self, topic: str) -> Gate:
        """The gate of a topic that was declared."""
        return self._gates[topic]

    def all(self) -> list[Gate]:
        return list(self._gates.values())

    @property
    def shut(self) -> list[str]:
        """Topics of which nothing is fetched now."""
        return [gate.topic for gate in self._gates.values() if gate.is_shut]

    def admits(self, work: Work) -> bool:
        """Whether a work may begin now; otherwise it is held, or goes back where it was claimed."""
        gate = self._gates.get(work.delivery.partition.topic)
        if gate is None or gate.admit(work.delivery):
            return True
        self.hold(work)
        return False

    def has_let_in(self, work: Work) -> bool:
        """Whether a work in hand may begin, or has begun, since its topic let it in."""
        gate = self._gates.get(work.delivery.partition.topic)
        return gate is not None and gate.has_let_in(work.delivery)

    def let_go(self, work: Work) -> None:
        """A work that was let in is not tried now. Twice is safe."""
        gate = self._gates.get(work.delivery.partition.topic)
        if gate is not None:
            gate.let_go(work.delivery)

    def needed_none(self, work: Work) -> None:
        """A work that was let in is done without an attempt: another may have its permit at once. Twice is safe."""
        gate = self._gates.get(work.delivery.partition.topic)
        if gate is not None:
            gate.let_go(work.delivery)
            self.tell(gate)

    def hold(self, work: Work) -> None:
        """Keep a work, uncounted, until its topic goes on; nothing more is fetched of that meanwhile."""
        self.let_go(work)
        claim = claim_of(work.delivery)
        if claim is not None:
            claim.run.goes_until = min(claim.run.goes_until, claim.number)
            work.delivery.state = RELEASED
            self.went_back()
        else:
            self._holding.hold(work)
        self._shut(self._gates[work.delivery.partition.topic])

    def tell(self, gate: Gate) -> None:
        """An outcome was told to this gate: see what follows."""
        if gate.circuit is not None and gate.circuit.state != self._told.get(gate.topic, "closed"):
            self._look(gate)
            self._news.set()
        elif gate.is_shut:
            self._news.set()  # there may be room for another trial

    def pause(self, topic: str, reason: str) -> None:
        """Stop a topic for an operator. Twice is safe."""
        gate = self._gates[topic]
        if gate.paused != reason:
            gate.paused = reason
            log.warning("%s is paused: %s", topic, reason)
            self._look(gate)
            self._shut(gate)

    def resume(self, topic: str) -> None:
        """Let a paused topic go on. Twice is safe."""
        gate = self._gates[topic]
        if gate.paused is not None:
            gate.paused = None
            log.info("%s goes on", topic)
            self._look(gate)
            self._news.set()

    async def run(self) -> None:
        """Open what may go on, when it may; go on until canceled."""
        while True:
            self._news.clear()
            for gate in self._gates.values():
                if gate.is_shut:
                    gate.forget()
                    if gate.wait() == timedelta():
                        self._open(gate)
            await self._next()

    async def _next(self) -> None:
        waits = [wait for gate in self._gates.values() if gate.is_shut and (wait := gate.wait()) is not None]
        news = asyncio.ensure_future(self._news.wait())
        sleep = asyncio.ensure_future(self._clock.sleep(min(_LOOK, *waits) if waits else _LONG))
        try:
            await asyncio.wait((news, sleep), return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()
            sleep.cancel()

    def _shut(self, gate: Gate) -> None:
        if gate.is_shut:
            return
        gate.is_shut = True
        if gate.rate is not None and gate.paused is None and not (gate.circuit and gate.circuit.state != "closed"):
            self._watching.waits_for_rate(gate.topic)
        self.shut_topic(gate.topic)
        self._news.set()

    def _open(self, gate: Gate) -> None:
        self._look(gate)
        gate.is_shut = False
        gate.forget()
        self._holding.release(gate.topic)
        self.open_topic(gate.topic)

    def _look(self, gate: Gate) -> None:
        """Bring `special` in line, and tell of a circuit that changed."""
        if gate.is_special:
            self.special.add(gate.topic)
        else:
            self.special.discard(gate.topic)
        circuit = gate.circuit
        if circuit is not None and self._told.get(gate.topic, "closed") != circuit.state:
            self._told[gate.topic] = circuit.state.value
            self._watching.circuit_changed(gate.topic, circuit.state, circuit.reason)
