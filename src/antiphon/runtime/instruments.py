"""The instruments of a service, bound once at start, so that the hot path only adds."""

from __future__ import annotations

from collections.abc import Sized
from datetime import timedelta
from typing import Protocol

from antiphon.observability import names
from antiphon.observability.context import Scope
from antiphon.observability.metrics import Counter, Histogram, Metrics


class HandlerInstruments:
    """What is measured about one handler."""

    __slots__ = ("_metrics", "_name", "duplicates", "durations", "retries", "scope")

    def __init__(self, metrics: Metrics, service: str, name: str, topic: str) -> None:
        self._metrics, self._name = metrics, name
        self.scope = Scope(service, name)
        self.durations: Histogram = metrics.histogram(names.PROCESS_DURATION, topic=topic, handler=name)
        self.retries: Counter = metrics.counter(names.RETRIES, handler=name)
        self.duplicates: Counter = metrics.counter(names.DUPLICATES, handler=name)

    def failed(self, error: BaseException) -> None:
        self._metrics.counter(names.FAILURES, handler=self._name, error=type(error).__name__).inc()

    def parked(self, reason: str) -> None:
        self._metrics.counter(names.PARKED, handler=self._name, reason=reason).inc()


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
        self.sending = metrics.histogram(names.OPERATION_DURATION, system=system, operation="send")

    def watch(self, settling: Held, pauses: Sized) -> None:
        """Let the gauges read what is held and what waits."""
        self._metrics.gauge(names.INFLIGHT).follow(lambda: settling.count)
        self._metrics.gauge(names.INFLIGHT_BYTES).follow(lambda: settling.bytes)
        self._metrics.gauge(names.PAUSED_PARTITIONS).follow(pauses.__len__)

    def behind(self, topic: str, messages: int, age: timedelta) -> None:
        """Say how far the group is behind on `topic`."""
        self._metrics.gauge(names.LAG, topic=topic, group=self._group).set(messages)
        self._metrics.gauge(names.LAG_SECONDS, topic=topic, group=self._group).set(age.total_seconds())

    def dead_letters(self, count: int) -> None:
        self._metrics.gauge(names.DEAD_LETTERS, group=self._group).set(count)

    def consumed(self, topic: str) -> Counter:
        return self._metrics.counter(names.CONSUMED, system=self._system, topic=topic, group=self._group)

    def skipped(self, topic: str) -> Counter:
        return self._metrics.counter(names.SKIPPED, topic=topic)

    def sent(self, topic: str) -> Counter:
        return self._metrics.counter(names.SENT, system=self._system, topic=topic)

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
