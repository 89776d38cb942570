"""When should a person be told: the alerts, each a question about metrics of the table of names.

An alert is `critical` (look now: somebody waits, or soon will) or a `warning` (look today).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Literal

from msgspec import Struct

from antiphon.observability import names
from antiphon.observability.bounded import OTHER
from antiphon.observability.names import CounterDefinition, Definition, HistogramDefinition
from antiphon.observability.prometheus import prometheus_label, prometheus_number
from antiphon.observability.promql import Asking
from antiphon.observability.thresholds import REMEMBERED, Thresholds

Severity = Literal["critical", "warning"]


class Alert(Struct, frozen=True, kw_only=True):
    """One thing to be told: when `expr` has held for `lasting`.

    The texts may name the service, the labels that `expr` keeps (`{topic}`) and its value (`{value}`, `{percentage}`,
    `{duration}`).
    """

    name: str
    expr: str
    lasting: timedelta = timedelta()
    severity: Severity
    keeps: tuple[str, ...] = ()
    summary: str
    description: str

    def told(self, text: str) -> str:
        """One of its texts, with Prometheus' own templates for what it names. Raises KeyError for anything else."""
        labels = {word: f"{{{{ $labels.{prometheus_label(word)} }}}}" for word in ("service", *self.keeps)}
        return text.format_map({**labels, **_VALUES})

    @property
    def anchor(self) -> str:
        """Where the page of alerts speaks of it."""
        return self.name.lower()


_VALUES = {
    "value": "{{ $value | humanize }}",
    "percentage": "{{ $value | humanizePercentage }}",
    "duration": "{{ $value | humanizeDuration }}",
}

COUNTED: tuple[CounterDefinition | HistogramDefinition, ...] = (
    names.PUBLISH_FAILURES,
    names.PROCESS_DURATION,
    names.FAILURES,
    names.RETRIES,
    names.PARKED,
    names.PROCESS_DEATHS,
    names.DEADLINES_MISSED,
    names.FETCH_FAILURES,
    names.SETTLE_FAILURES,
)
"""Those whose growth within the window is recorded, since an alert asks for it."""

NOT_ALERTED: Mapping[Definition, str] = MappingProxyType(
    {
        names.SENT: "traffic has no wrong amount that all services share",
        names.CONSUMED: "as for what is sent",
        names.IGNORED: "the policy says that this does not matter",
        names.DELAYED: "a delayed retry ends in success or as a dead letter, and that one alerts",
        names.REDRIVEN: "a person does it, and sees how it ends",
        names.DUPLICATES: "they are expected, and had no second effect",
        names.SKIPPED: "types that no handler asked for are normal on a shared topic",
        names.RELEASED: "every drain releases",
        names.REQUESTS_FAILED: "whoever asked is told; failing runs alert",
        names.REPLIES_SENT: "traffic, as for what is sent",
        names.REPLIES_LOST: "whoever asked gets an error, and the broker's own alerts say why",
        names.ASK_FAILURES: "whoever asks gets the error, and decides what it means",
        names.REPLIES_LATE: "each was an error to whoever asked",
        names.FETCH_WAITS: "waiting for room is how memory stays bounded; lag says when it is too slow",
        names.PAUSES: "what is paused now alerts",
        names.CIRCUIT_OPENED: "what is open now alerts",
        names.RATE_LIMITED: "the limit was declared; lag says when it is too low",
        names.REBALANCES: "every deploy rebalances",
        names.HOOK_FAILURES: "a hook cannot change an outcome, and its first failure is logged",
        names.COMMITS: "traffic, as for what is sent",
        names.ROLLBACKS: "what is rolled back is tried again; what cannot be alerts as failures, lag or a stall",
        names.INFLIGHT_BYTES: "it is bounded by a setting",
        names.OUTBOX: "any number may be on its way; its age alerts",
        names.SCHEDULED: "any number may be waiting for its time; being late alerts",
        names.ASKS_OPEN: "they are bounded, and each ends by its deadline",
        names.ASK_DURATION: "how long is too long, each request says by its deadline",
        names.TRANSACTION_WAIT: "it is part of handling, whose duration alerts",
        names.TRANSACTION_DURATION: "it is part of handling, whose duration alerts",
        names.BATCH_SIZE: "it shows how handling works, not whether",
    }
)
"""Those that no alert asks for, and why."""


def alerts(thresholds: Thresholds, asking: Asking) -> tuple[Alert, ...]:
    """All of them, in the order in which a message travels."""
    return (
        *_publishing(thresholds, asking),
        *_handling(thresholds, asking),
        *_lagging(thresholds, asking),
        *_parking(thresholds, asking),
        *_waiting(thresholds, asking),
        *_running(thresholds, asking),
    )


def _publishing(most: Thresholds, ask: Asking) -> tuple[Alert, ...]:
    sending = {"operation": "send"}
    return (
        Alert(
            name="AntiphonPublishFails",
            expr=f"{ask.recent(names.PUBLISH_FAILURES, 'topic', 'error')} > {most.publish_failures}",
            lasting=most.window,
            severity="critical",
            keeps=("topic", "error"),
            summary="{service} cannot publish to {topic}",
            description="The broker did not take {value} messages ({error}), and it goes on.",
        ),
        Alert(
            name="AntiphonPublishSlow",
            expr=f"{ask.quantile(0.99, names.OPERATION_DURATION, 'system', where=sending)}"
            f" > {_seconds(most.slow_publishing)}",
            lasting=most.slow,
            severity="warning",
            keeps=("system",),
            summary="{service} publishes slowly",
            description="One of a hundred publishes takes {duration} or longer on {system}.",
        ),
        Alert(
            name="AntiphonScheduledLate",
            expr=f"{ask.now(names.SCHEDULED_LATE)} > {_seconds(most.scheduled_late)}",
            severity="warning",
            summary="{service} publishes scheduled messages late",
            description="The oldest scheduled message should have been published {duration} ago.",
        ),
        Alert(
            name="AntiphonOutboxOld",
            expr=f"{ask.now(names.OUTBOX_AGE)} > {_seconds(most.outbox_age)}",
            severity="critical",
            summary="{service} does not publish what it committed",
            description="The oldest message of the outbox has waited for {duration}.",
        ),
    )


def _handling(most: Thresholds, ask: Asking) -> tuple[Alert, ...]:
    failures, retries = ask.recent(names.FAILURES, "handler"), ask.recent(names.RETRIES, "handler")
    # Failures are added, since not every way of running a handler measures how long a failed run took.
    runs = f"({ask.recent(names.PROCESS_DURATION, 'handler')} + {failures})"
    enough = f"and {runs} >= {most.least_runs}"
    return (
        Alert(
            name="AntiphonHandlerFails",
            expr=f"{failures} / {runs} > {prometheus_number(most.error_ratio)}\n{enough}",
            lasting=most.window,
            severity="critical",
            keeps=("handler",),
            summary="{handler} of {service} fails",
            description="{percentage} of its runs fail.",
        ),
        Alert(
            name="AntiphonRetryStorm",
            expr=f"{retries} / {runs} > {prometheus_number(most.retry_ratio)}\n{enough}",
            lasting=most.slow,
            severity="warning",
            keeps=("handler",),
            summary="{handler} of {service} mostly retries",
            description="{percentage} of its runs are attempts after the first.",
        ),
        Alert(
            name="AntiphonHandlerSlow",
            expr=f"{ask.quantile(0.99, names.PROCESS_DURATION, 'handler')} > {_seconds(most.slow_handling)}",
            lasting=most.slow,
            severity="warning",
            keeps=("handler",),
            summary="{handler} of {service} is slow",
            description="One of a hundred runs takes {duration} or longer.",
        ),
        Alert(
            name="AntiphonDeadlinesMissed",
            expr=f"{ask.recent(names.DEADLINES_MISSED, 'handler')} > 0",
            severity="warning",
            keeps=("handler",),
            summary="Messages came too late for {handler} of {service}",
            description="The deadline of {value} messages passed before they were handled.",
        ),
    )


def _lagging(most: Thresholds, ask: Asking) -> tuple[Alert, ...]:
    kept = ("topic", "group")
    return (
        Alert(
            name="AntiphonLagGrows",
            expr=f"{ask.now(names.LAG, *kept)} > {most.lag_messages}\n"
            f"and {ask.rise(names.LAG, *kept, over=most.lag_grows)} > 0",
            lasting=most.lag_grows,
            severity="warning",
            keeps=kept,
            summary="{group} falls behind on {topic}",
            description="{value} messages wait, and they become more.",
        ),
        Alert(
            name="AntiphonLagOld",
            expr=f"{ask.now(names.LAG_SECONDS, *kept)} > {_seconds(most.lag)}",
            severity="critical",
            keeps=kept,
            summary="{group} is behind on {topic}",
            description="The oldest message that it has not read is {duration} old.",
        ),
    )


def _parking(most: Thresholds, ask: Asking) -> tuple[Alert, ...]:
    same = ("handler", "fingerprint")
    behind = {"state": "behind"}
    return (
        Alert(
            name="AntiphonDeadLettersArrive",
            expr=f"{ask.recent(names.PARKED, 'handler', 'reason')} > 0",
            severity="warning",
            keeps=("handler", "reason"),
            summary="{handler} of {service} gave messages up",
            description="{value} messages were parked as dead letters ({reason}).",
        ),
        Alert(
            name="AntiphonSameFailure",
            expr=f"{ask.recent(names.PARKED, *same, unlike={'fingerprint': OTHER})} > {most.fingerprint_arrivals}",
            severity="critical",
            keeps=same,
            summary="{handler} of {service} gives up message after message for one reason",
            description="{value} messages were parked with the fingerprint {fingerprint}.",
        ),
        Alert(
            name="AntiphonDeadLettersHeld",
            expr=f"{ask.now(names.DEAD_LETTERS, 'group')} > {most.dead_letters}",
            severity="warning",
            keeps=("group",),
            summary="{group} holds many dead letters",
            description="{value} dead letters wait for somebody to redrive or drop them.",
        ),
        Alert(
            name="AntiphonMessagesBehind",
            expr=f"{ask.now(names.SET_ASIDE, 'group', where=behind)} > {most.messages_behind}",
            severity="warning",
            keeps=("group",),
            summary="Messages of {group} wait behind failed ones",
            description="{value} messages wait behind a failed message of their key.",
        ),
    )


def _waiting(most: Thresholds, ask: Asking) -> tuple[Alert, ...]:
    return (
        Alert(
            name="AntiphonCircuitOpen",
            # Half open counts as well: it becomes so for a moment with every probe.
            expr=f"{ask.now(names.CIRCUIT_STATE, 'topic')} > 0",
            lasting=most.circuit_open,
            severity="critical",
            keeps=("topic",),
            summary="{service} does not read {topic}: its breaker is open",
            description="What its handlers need has failed for so long that nothing is fetched until a probe succeeds.",
        ),
        Alert(
            name="AntiphonTopicPaused",
            expr=f"{ask.now(names.TOPIC_PAUSED, 'topic', 'reason')} > 0",
            lasting=most.topic_paused,
            severity="warning",
            keeps=("topic", "reason"),
            summary="{service} still does not read {topic}",
            description="It is paused ({reason}), and may have been forgotten.",
        ),
        Alert(
            name="AntiphonPartitionsPaused",
            expr=f"{ask.now(names.PAUSED_PARTITIONS)} > 0",
            lasting=most.partitions_paused,
            severity="warning",
            summary="Partitions of {service} wait",
            description="In one process {value} partitions wait for code that knows a newer version of an event.",
        ),
    )


def _running(most: Thresholds, ask: Asking) -> tuple[Alert, ...]:
    return (
        Alert(
            name="AntiphonProcessDied",
            expr=f"{ask.recent(names.PROCESS_DEATHS)} > 0",
            severity="critical",
            summary="A process of {service} died with a message in hand",
            description="{value} messages were found whose attempt never ended.",
        ),
        Alert(
            name="AntiphonFetchFails",
            expr=f"{ask.recent(names.FETCH_FAILURES, 'error')} > {most.broker_failures}",
            lasting=most.window,
            severity="critical",
            keeps=("error",),
            summary="{service} cannot fetch",
            description="{value} fetches failed ({error}), and they go on failing.",
        ),
        Alert(
            name="AntiphonSettleFails",
            expr=f"{ask.recent(names.SETTLE_FAILURES, 'error')} > {most.broker_failures}",
            lasting=most.window,
            severity="critical",
            keeps=("error",),
            summary="{service} cannot settle",
            description="{value} settlements failed ({error}), so what was handled comes again.",
        ),
        Alert(
            name="AntiphonStalled",
            expr=f"{ask.now(names.STALLED, 'part')} > 0",
            lasting=most.stalled,
            severity="critical",
            keeps=("part",),
            summary="{service} stands still",
            description="Its {part} makes no progress, though there is work.",
        ),
        Alert(
            name="AntiphonGone",
            expr=ask.vanished(names.INFLIGHT, within=REMEMBERED),
            lasting=most.gone,
            severity="critical",
            summary="{service} is gone",
            description="Within the last hour it could be measured, and now no process of it can.",
        ),
    )


def _seconds(duration: timedelta) -> str:
    return prometheus_number(duration.total_seconds())
