"""The instruments of a service, bound once at start, so that the hot path only adds."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from datetime import timedelta
from typing import Protocol

from antiphon.observability import names
from antiphon.observability.bounded import BoundedValues
from antiphon.observability.context import Scope
from antiphon.observability.metrics import Counter, Histogram, Metrics
from antiphon.resilience import CircuitState
from antiphon.storage.set_aside import AsideState

_STATES = (CircuitState.CLOSED, CircuitState.HALF_OPEN, CircuitState.OPEN)


class HandlerInstruments:
    """What is measured about one handler."""

    __slots__ = (
        "_fingerprints",
        "_metrics",
        "_name",
        "delayed",
        "duplicates",
        "durations",
        "late",
        "redriven",
        "retries",
        "scope",
    )

    def __init__(
        self, metrics: Metrics, service: str, name: str, topic: str, fingerprints: BoundedValues | None = None
    ) -> None:
        self._metrics, self._name = metrics, name
        self._fingerprints = fingerprints or BoundedValues()
        self.scope = Scope(service, name)
        self.durations: Histogram = metrics.histogram(names.PROCESS_DURATION, topic=topic, handler=name)
        self.retries: Counter = metrics.counter(names.RETRIES, handler=name)
        self.delayed: Counter = metrics.counter(names.DELAYED, handler=name)
        self.duplicates: Counter = metrics.counter(names.DUPLICATES, handler=name)
        self.redriven: Counter = metrics.counter(names.REDRIVEN, handler=name)
        self.late: Counter = metrics.counter(names.DEADLINES_MISSED, handler=name)

    def failed(self, error: BaseException) -> None:
        self._metrics.counter(names.FAILURES, handler=self._name, error=type(error).__name__).inc()

    def ignored(self, error: BaseException) -> None:
        self._metrics.counter(names.IGNORED, handler=self._name, error=type(error).__name__).inc()

    def parked(self, reason: str, fingerprint: str) -> None:
        mark = self._fingerprints.admit(self._name, fingerprint)
        self._metrics.counter(names.PARKED, handler=self._name, reason=reason, fingerprint=mark).inc()


class Held(Protocol):
    """What is fetched and not settled."""

    @property
    def count(self) -> int: ...

    @property
    def bytes(self) -> int: ...


class ConsumerInstruments:
    """What is measured about fetching and settling of one service."""

    def __init__(self, metrics: Metrics, system: str, group: str) -> None:
        self._metrics, self._system, self._group = metrics, system, group
        self.commits = metrics.counter(names.COMMITS)
        self.batch = metrics.histogram(names.BATCH_SIZE)
        self.wait = metrics.histogram(names.TRANSACTION_WAIT)
        self.duration = metrics.histogram(names.TRANSACTION_DURATION)
        self.settling = metrics.histogram(names.OPERATION_DURATION, system=system, operation="settle")
        self.waits_for_room = metrics.counter(names.FETCH_WAITS)
        self.released = metrics.counter(names.RELEASED)

    def watch(self, settling: Held, pauses: Sized) -> None:
        """Let the gauges read what is held and what waits."""
        self._metrics.gauge(names.INFLIGHT).follow(lambda: settling.count)
        self._metrics.gauge(names.INFLIGHT_BYTES).follow(lambda: settling.bytes)
        self._metrics.gauge(names.PAUSED_PARTITIONS).follow(pauses.__len__)

    def behind(self, topic: str, messages: int, age: timedelta) -> None:
        """Say how far the group is behind on `topic`."""
        self._metrics.gauge(names.LAG, topic=topic, group=self._group).set(messages)
        self._metrics.gauge(names.LAG_SECONDS, topic=topic, group=self._group).set(age.total_seconds())

    def set_aside(self, counts: Mapping[AsideState, int]) -> None:
        """Say how many messages of the group are delayed, behind others, and parked."""
        self._metrics.gauge(names.DEAD_LETTERS, group=self._group).set(counts[AsideState.PARKED])
        for state, count in counts.items():
            self._metrics.gauge(names.SET_ASIDE, group=self._group, state=state.name.lower()).set(count)

    def circuit(self, topic: str, state: CircuitState) -> None:
        """Say how the breaker of a topic is now."""
        self._metrics.gauge(names.CIRCUIT_STATE, topic=topic).set(_STATES.index(state))
        if state is CircuitState.OPEN:
            self._metrics.counter(names.CIRCUIT_OPENED, topic=topic).inc()

    def waits_for_rate(self, topic: str) -> None:
        self._metrics.counter(names.RATE_LIMITED, topic=topic).inc()

    def topic_paused(self, topic: str, paused: bool) -> None:
        """Say whether an operator holds a topic."""
        self._metrics.gauge(names.TOPIC_PAUSED, topic=topic, reason="operator").set(int(paused))

    def died(self, count: int) -> None:
        self._metrics.counter(names.PROCESS_DEATHS).inc(count)

    def consumed(self, topic: str) -> Counter:
        return self._metrics.counter(names.CONSUMED, system=self._system, topic=topic, group=self._group)

    def skipped(self, topic: str) -> Counter:
        return self._metrics.counter(names.SKIPPED, topic=topic)

    def rolled_back(self, error: BaseException) -> None:
        self._metrics.counter(names.ROLLBACKS, reason=type(error).__name__).inc()

    def settle_failed(self, error: BaseException) -> None:
        self._metrics.counter(names.SETTLE_FAILURES, error=type(error).__name__).inc()

    def fetch_failed(self, error: BaseException) -> None:
        self._metrics.counter(names.FETCH_FAILURES, error=type(error).__name__).inc()

    def paused(self, topic: str, reason: str) -> None:
        self._metrics.counter(names.PAUSES, topic=topic, reason=reason).inc()

    def rebalanced(self, reason: str) -> None:
        self._metrics.counter(names.REBALANCES, reason=reason).inc()
