"""What is measured, under which name: one table for the runtime, the exposition, the dashboards and the docs.

Names and labels that begin with `messaging.` are OpenTelemetry's messaging conventions (they are still in
development there and have moved before, which is why they live in one place); the others are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct

LABELS: Mapping[str, str] = MappingProxyType(
    {
        "service": "service.name",
        "system": "messaging.system",
        "topic": "messaging.destination.name",
        "partition": "messaging.destination.partition.id",
        "group": "messaging.consumer.group.name",
        "operation": "messaging.operation.name",
        "error": "error.type",
        "handler": "antiphon.handler",
        "event": "antiphon.event",
        "reason": "antiphon.reason",
        "hook": "antiphon.hook",
        "fingerprint": "antiphon.fingerprint",
        "state": "antiphon.state",
        "part": "antiphon.part",
    }
)
"""Our short word for each label, and its name outside."""

SECONDS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""OpenTelemetry's bounds for durations, and three finer ones: a handler without I/O takes microseconds."""

SIZES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)
"""Bounds for how many messages a batch holds."""


class Definition(Struct, frozen=True, kw_only=True):
    """One thing that is measured: its name, the unit (as UCUM writes it), what it says, and its labels."""

    name: str
    unit: str
    about: str
    labels: tuple[str, ...] = ()


class CounterDefinition(Definition, frozen=True, kw_only=True):
    """It only grows."""


class GaugeDefinition(Definition, frozen=True, kw_only=True):
    """It goes up and down."""


class HistogramDefinition(Definition, frozen=True, kw_only=True):
    """It is spread over `bounds`, each the largest value of its bucket."""

    bounds: tuple[float, ...] = SECONDS


def _counter(name: str, about: str, *labels: str, unit: str = "{message}") -> CounterDefinition:
    return CounterDefinition(name=name, unit=unit, about=about, labels=labels)


def _gauge(name: str, about: str, *labels: str, unit: str = "{message}") -> GaugeDefinition:
    return GaugeDefinition(name=name, unit=unit, about=about, labels=labels)


def _seconds(name: str, about: str, *labels: str) -> HistogramDefinition:
    return HistogramDefinition(name=name, unit="s", about=about, labels=labels)


SENT = _counter("messaging.client.sent.messages", "Messages that the broker confirmed.", "system", "topic")
CONSUMED = _counter(
    "messaging.client.consumed.messages", "Deliveries fetched, each attempt once.", "system", "topic", "group"
)
OPERATION_DURATION = _seconds(
    "messaging.client.operation.duration", "How long the broker took to send, receive or settle.", "system", "operation"
)
PROCESS_DURATION = _seconds("messaging.process.duration", "How long one run of a handler took.", "topic", "handler")

PUBLISH_FAILURES = _counter("antiphon.publish.failures", "Messages that the broker did not take.", "topic", "error")
FAILURES = _counter("antiphon.handler.failures", "Runs of a handler that failed.", "handler", "error")
IGNORED = _counter("antiphon.ignored", "Messages whose failure the policy ignores.", "handler", "error")
RETRIES = _counter("antiphon.retries", "Attempts after the first.", "handler")
DELAYED = _counter("antiphon.delayed", "Messages put off for a delayed retry.", "handler")
PARKED = _counter("antiphon.parked", "Messages parked as dead letters.", "handler", "reason", "fingerprint")
REDRIVEN = _counter("antiphon.redriven", "Dead letters sent again.", "handler")
DEADLINES_MISSED = _counter("antiphon.deadlines.missed", "Messages whose deadline passed unhandled.", "handler")
PROCESS_DEATHS = _counter("antiphon.process.deaths", "Messages found after a restart whose attempt never ended.")
DUPLICATES = _counter("antiphon.duplicates", "Messages that were handled before and not handled again.", "handler")
SKIPPED = _counter("antiphon.skipped", "Messages of types that no handler asked for.", "topic")
RELEASED = _counter("antiphon.released", "Deliveries given back unhandled by a drain.")
SETTLE_FAILURES = _counter(
    "antiphon.settle.failures", "Settlements that the broker or store refused.", "error", unit="{settlement}"
)
FETCH_FAILURES = _counter("antiphon.fetch.failures", "Fetches that failed.", "error", unit="{fetch}")
REQUESTS_FAILED = _counter(
    "antiphon.requests.failed", "Requests given up, whose askers are told so.", "handler", "error"
)
REPLIES_SENT = _counter("antiphon.replies.sent", "Replies sent, those that tell of a failure included.", "handler")
REPLIES_LOST = _counter("antiphon.replies.lost", "Replies that the broker did not take.", "handler", "error")
ASK_FAILURES = _counter("antiphon.ask.failures", "Requests that got no usable reply.", "topic", "error")
REPLIES_LATE = _counter("antiphon.replies.late", "Replies dropped, since nobody waited for them any more.")
FETCH_WAITS = _counter("antiphon.fetch.waits", "Times that fetching waited for room in memory.", unit="{wait}")
PAUSES = _counter("antiphon.partition.pauses", "Times that a partition was paused.", "topic", "reason", unit="{pause}")
CIRCUIT_OPENED = _counter("antiphon.circuit.opened", "Times that a breaker opened.", "topic", unit="{change}")
RATE_LIMITED = _counter("antiphon.rate.waits", "Times that fetching waited for a rate limit.", "topic", unit="{wait}")
REBALANCES = _counter("antiphon.rebalances", "Changes of who owns which partitions.", "reason", unit="{change}")
HOOK_FAILURES = _counter("antiphon.hook.failures", "Exceptions raised by hooks.", "hook", unit="{exception}")
COMMITS = _counter("antiphon.transaction.commits", "Transactions that committed.", unit="{transaction}")
ROLLBACKS = _counter("antiphon.transaction.rollbacks", "Transactions rolled back.", "reason", unit="{transaction}")

INFLIGHT = _gauge("antiphon.inflight", "Deliveries fetched and not yet settled.")
INFLIGHT_BYTES = _gauge("antiphon.inflight.bytes", "Bytes of data fetched and not yet settled.", unit="By")
PAUSED_PARTITIONS = _gauge("antiphon.partitions.paused", "Partitions paused now.", unit="{partition}")
TOPIC_PAUSED = _gauge("antiphon.topic.paused", "1 while a topic is paused.", "topic", "reason", unit="1")
CIRCUIT_STATE = _gauge("antiphon.circuit.state", "A breaker: 0 closed, 1 half open, 2 open.", "topic", unit="1")
STALLED = _gauge("antiphon.stalled", "1 while a part makes no progress past its limit.", "part", unit="1")
LAG = _gauge("antiphon.lag", "Messages between the whole group and the end of the topic.", "topic", "group")
LAG_SECONDS = _gauge("antiphon.lag.age", "Age of the oldest message unread by the group.", "topic", "group", unit="s")
DEAD_LETTERS = _gauge("antiphon.dead_letters", "Dead letters held for the whole group.", "group")
SET_ASIDE = _gauge("antiphon.set_aside", "Messages held as delayed, behind another, or parked.", "group", "state")
SCHEDULED = _gauge(
    "antiphon.scheduled",
    "Messages of the whole store that wait for their time; each process says the same, so take the max.",
)
SCHEDULED_LATE = _gauge(
    "antiphon.scheduled.late",
    "How late the oldest scheduled message of the whole store is; each process says the same, so take the max.",
    unit="s",
)

ASKS_OPEN = _gauge("antiphon.asks.open", "Requests that wait for their reply.")
OUTBOX = _gauge(
    "antiphon.outbox",
    "Messages of the whole store that wait to be published; each process says the same, so take the max.",
)
OUTBOX_AGE = _gauge(
    "antiphon.outbox.age",
    "How long the oldest message of the whole outbox has waited; each process says the same, so take the max.",
    unit="s",
)

TRANSACTION_WAIT = _seconds("antiphon.transaction.wait", "How long a batch waited for its turn to write.")
TRANSACTION_DURATION = _seconds("antiphon.transaction.duration", "From the beginning of a transaction to its end.")
ASK_DURATION = _seconds("antiphon.ask.duration", "From a request to its reply.", "topic")
BATCH_SIZE = HistogramDefinition(
    name="antiphon.batch.messages",
    unit="{message}",
    about="Deliveries in one fetched batch.",
    bounds=SIZES,
)

DEFINITIONS: tuple[Definition, ...] = tuple(
    found for found in list(globals().values()) if isinstance(found, Definition)
)
"""All of them, in the order above."""
