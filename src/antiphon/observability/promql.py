"""How Prometheus is asked about a metric: expressions made from the table of names, so that none outlives its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta

from msgspec import Struct

from antiphon.errors import UsageError
from antiphon.observability.names import (
    CounterDefinition,
    Definition,
    GaugeDefinition,
    HistogramDefinition,
)
from antiphon.observability.prometheus import prometheus_label, prometheus_name

Where = Mapping[str, str]
"""Values of labels, by our short words."""

_UNITS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_NONE: Where = {}


def span(duration: timedelta) -> str:
    """How Prometheus writes a duration, in the largest unit that divides it: `5m`, `90s`."""
    length = round(duration / timedelta(milliseconds=1))
    unit = next((unit for unit, size in _UNITS.items() if length and length % size == 0), "s")
    return f"{length // _UNITS[unit]}{unit}"


class Asking(Struct, frozen=True, kw_only=True):
    """How questions are asked: over which `window`, and what is kept `apart` besides the service.

    `apart` are labels that the scrape adds, such as `job` and `cluster`, and that are the same for all processes of a
    service. Raises UsageError when one is no name for a label.
    """

    window: timedelta
    apart: tuple[str, ...] = ("job",)

    def __post_init__(self) -> None:
        for name in self.apart:
            if not _LABEL.fullmatch(name) or name.startswith("__"):
                raise UsageError(f"{name!r} is no name for a label: use letters, digits and '_', as in cluster")

    def by(self, labels: tuple[str, ...]) -> str:
        """The clause that keeps these labels, the service and what is apart."""
        names = (*self.apart, *(prometheus_label(word) for word in ("service", *labels)))
        return f"by ({', '.join(dict.fromkeys(names))})"

    def recorded(self, definition: Definition) -> str:
        """Under which name `growth` is recorded."""
        return f"service:{prometheus_name(definition).removesuffix('_total')}:increase{span(self.window)}"

    def growth(self, definition: CounterDefinition | HistogramDefinition) -> str:
        """By how much it grew within the window, over all processes; of a histogram, how many were observed.

        Prometheus itself takes the first value of a new series for its beginning, and so would miss the first failure
        of its kind. Here a new series counts from zero, except one that may be old, because its process, or Prometheus
        itself, was out of reach when the window began.
        """
        if isinstance(definition, HistogramDefinition):
            count = prometheus_name(definition) + "_count"
            return f"sum {self.by(definition.labels)} (increase({count}[{span(self.window)}]))"
        name, before = prometheus_name(definition), f"offset {span(self.window)}"
        return "\n".join(
            (
                f"sum {self.by(definition.labels)} (",
                "  (",
                f"    {name} unless {name} {before}",
                f"      unless on (job, instance) (up {before} == 0)",
                f"      and on () count(up {before})",
                "  )",
                f"  or increase({name}[{span(self.window)}])",
                ")",
            )
        )

    def recent(self, definition: CounterDefinition | HistogramDefinition, *labels: str, unlike: Where = _NONE) -> str:
        """The recorded growth, summed to these labels, without those that are `unlike` them."""
        _check(definition, (*labels, *unlike))
        return f"sum {self.by(labels)} ({self.recorded(definition)}{_matchers(unlike, '!=')})"

    def now(self, definition: GaugeDefinition, *labels: str, where: Where = _NONE) -> str:
        """What a gauge says, of those that are `where`; the most that any process says."""
        _check(definition, (*labels, *where))
        return f"max {self.by(labels)} ({prometheus_name(definition)}{_matchers(where, '=')})"

    def rise(self, definition: GaugeDefinition, *labels: str, over: timedelta) -> str:
        """By how much a gauge rose `over` this time; the most that any process says."""
        _check(definition, labels)
        return f"max {self.by(labels)} (delta({prometheus_name(definition)}[{span(over)}]))"

    def quantile(self, share: float, definition: HistogramDefinition, *labels: str, where: Where = _NONE) -> str:
        """The value below which this share of what was observed within the window lies."""
        _check(definition, (*labels, *where))
        buckets = f"{prometheus_name(definition)}_bucket{_matchers(where, '=')}[{span(self.window)}]"
        kept = self.by(labels).replace("by (", "by (le, ")
        return f"histogram_quantile({share}, sum {kept} (rate({buckets})))"

    def vanished(self, definition: GaugeDefinition, *, within: timedelta) -> str:
        """Services that said this `within` some time, and of which no process says it now."""
        name, kept = prometheus_name(definition), self.by(())
        return f"count {kept} (last_over_time({name}[{span(within)}])) unless count {kept} ({name})"


def _check(definition: Definition, labels: tuple[str, ...]) -> None:
    strange = [word for word in labels if word not in definition.labels]
    if strange:
        wanted = ", ".join(definition.labels) or "none"
        raise UsageError(f"{definition.name} was asked by the label {strange[0]}: it has {wanted}")


def _matchers(where: Where, sign: str) -> str:
    if not where:
        return ""
    return "{" + ", ".join(f'{prometheus_label(word)}{sign}"{value}"' for word, value in where.items()) + "}"
