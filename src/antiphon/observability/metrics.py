"""How much, how often, how long: counters, gauges and histograms of one service, held in its process.

An instrument is bound to its labels once, at start; what is called for each message is a plain addition.
Change instruments from one thread; reading from another is safe and may be a moment behind.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from msgspec import Struct

from antiphon.errors import UsageError
from antiphon.observability.names import (
    LABELS,
    CounterDefinition,
    Definition,
    GaugeDefinition,
    HistogramDefinition,
)

Labels = tuple[tuple[str, str], ...]


class Reading(Struct, frozen=True, kw_only=True):
    """What one instrument says: `value`, or for a histogram also the `count` and, by upper bound, the `buckets`.

    A histogram's `value` is the sum of what it observed. Buckets are not cumulative; the last has no bound.
    """

    name: str
    labels: dict[str, str]
    value: float
    count: int | None = None
    buckets: list[tuple[float | None, int]] | None = None


class Counter:
    """Something that only grows."""

    __slots__ = ("definition", "labels", "value")

    def __init__(self, definition: CounterDefinition, labels: Labels) -> None:
        self.definition, self.labels = definition, labels
        self.value = 0

    def inc(self, n: int = 1) -> None:
        """Add `n`, which is not negative."""
        self.value += n

    def read(self) -> Reading:
        return Reading(name=self.definition.name, labels=dict(self.labels), value=self.value)


class Gauge:
    """Something that goes up and down: set it, or let it be read when someone looks."""

    __slots__ = ("_source", "definition", "labels", "value")

    def __init__(self, definition: GaugeDefinition, labels: Labels) -> None:
        self.definition, self.labels = definition, labels
        self.value: float = 0
        self._source: Callable[[], float] | None = None

    def set(self, value: float) -> None:
        self.value = value

    def follow(self, source: Callable[[], float]) -> None:
        """Ask `source` at every reading; nothing is paid in between. It must not wait."""
        self._source = source

    def stay(self) -> None:
        """Read what it follows once more, and follow it no longer."""
        self.read()
        self._source = None

    def read(self) -> Reading:
        if self._source is not None:
            self.value = self._source()
        return Reading(name=self.definition.name, labels=dict(self.labels), value=self.value)


class Histogram:
    """How values are spread over the definition's bounds."""

    __slots__ = ("_bounds", "counts", "definition", "labels", "total")

    def __init__(self, definition: HistogramDefinition, labels: Labels) -> None:
        self.definition, self.labels = definition, labels
        self._bounds = definition.bounds
        self.counts = [0] * (len(definition.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Note `value`, in the definition's unit (seconds for durations), as seen `times` times."""
        self.counts[bisect_left(self._bounds, value)] += times
        self.total += value * times

    def observe_many(self, values: Iterable[float]) -> None:
        """Note each of these."""
        counts, bounds, total = self.counts, self._bounds, 0.0
        for value in values:
            counts[bisect_left(bounds, value)] += 1
            total += value
        self.total += total

    @property
    def count(self) -> int:
        """How many values were observed."""
        return sum(self.counts)

    def read(self) -> Reading:
        counts = list(self.counts)
        return Reading(
            name=self.definition.name,
            labels=dict(self.labels),
            value=self.total,
            count=sum(counts),
            buckets=list(zip((*self._bounds, None), counts, strict=True)),
        )


Instrument = Counter | Gauge | Histogram
_D = TypeVar("_D", bound=Definition)
_I = TypeVar("_I", Counter, Gauge, Histogram)


class Metrics:
    """The instruments of one service. Two services have two of these; nothing is shared behind their backs.

    `labels` are carried by all of them, such as `service="payments"`.
    """

    def __init__(self, **labels: str) -> None:
        self._constant = labels
        self._instruments: dict[tuple[str, Labels], Instrument] = {}

    def counter(self, definition: CounterDefinition, **labels: str) -> Counter:
        """The counter for these labels, the same one each time. Raises UsageError when the labels do not fit."""
        return self._bind(Counter, definition, labels)

    def gauge(self, definition: GaugeDefinition, **labels: str) -> Gauge:
        """As `counter`."""
        return self._bind(Gauge, definition, labels)

    def histogram(self, definition: HistogramDefinition, **labels: str) -> Histogram:
        """As `counter`."""
        return self._bind(Histogram, definition, labels)

    def _bind(self, kind: Callable[[_D, Labels], _I], definition: _D, labels: Mapping[str, str]) -> _I:
        if set(labels) != set(definition.labels):
            wanted = ", ".join(definition.labels) or "none"
            raise UsageError(f"{definition.name} was given the labels {', '.join(labels) or 'none'}: it has {wanted}")
        outside = tuple((LABELS[name], value) for name, value in {**self._constant, **labels}.items())
        key = (definition.name, outside)
        found = self._instruments.get(key)
        if found is None:
            found = self._instruments[key] = kind(definition, outside)
        return found  # type: ignore[return-value]  # one name has one kind of definition

    def total(self, definition: CounterDefinition | GaugeDefinition) -> float:
        """The sum over all labels; 0 when nothing was counted."""
        return sum(one.value for one in self.snapshot() if one.name == definition.name)

    def snapshot(self) -> list[Reading]:
        """What every instrument says now."""
        return [one.read() for one in list(self._instruments.values())]

    def stay(self) -> None:
        """Let every gauge stay as it is, since what it was read from goes. Twice is safe."""
        for one in self._instruments.values():
            if isinstance(one, Gauge):
                one.stay()

    def instruments(self) -> list[Instrument]:
        """Every instrument bound so far, in the order of binding."""
        return list(self._instruments.values())
