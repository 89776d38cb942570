"""How metrics look to Prometheus: its text exposition, version 0.0.4."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from antiphon.observability.metrics import Metrics, Reading
from antiphon.observability.names import LABELS, CounterDefinition, Definition, GaugeDefinition

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_UNITS = {"s": "_seconds", "By": "_bytes"}


def render_prometheus(metrics: Iterable[Metrics]) -> str:
    """The readings of all of these, grouped by name. They must differ in a label, such as their service."""
    families: dict[str, tuple[Definition, list[Reading]]] = {}
    for one in metrics:
        for instrument in one.instruments():
            family = families.setdefault(instrument.definition.name, (instrument.definition, []))
            family[1].append(instrument.read())
    lines = [line for name in sorted(families) for line in _family(*families[name])]
    return "\n".join([*lines, ""]) if lines else ""


def prometheus_name(definition: Definition) -> str:
    """The name of a metric there: dots become underscores, the unit is appended, counters end in `_total`."""
    name, unit = _legal(definition.name), _UNITS.get(definition.unit, "")
    if unit and not name.endswith(unit):
        name += unit
    return f"{name}_total" if isinstance(definition, CounterDefinition) else name


def prometheus_label(word: str) -> str:
    """The name there of a label, given our short word for it: `topic` is `messaging_destination_name`."""
    return _legal(LABELS[word])


def prometheus_number(value: float) -> str:
    """How a number is written there: without a point where it is whole, with words where it is none."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if float(value).is_integer() else repr(value)


def _legal(name: str) -> str:
    return name.replace(".", "_")


def _family(definition: Definition, readings: list[Reading]) -> Iterator[str]:
    name = prometheus_name(definition)
    yield f"# HELP {name} {_escape_help(definition.about)}"
    yield f"# TYPE {name} {_kind(definition)}"
    for reading in readings:
        yield from _lines(name, reading)


def _kind(definition: Definition) -> str:
    if isinstance(definition, CounterDefinition):
        return "counter"
    return "gauge" if isinstance(definition, GaugeDefinition) else "histogram"


def _lines(name: str, reading: Reading) -> Iterator[str]:
    if reading.buckets is None:
        yield f"{name}{_labels(reading.labels)} {prometheus_number(reading.value)}"
        return
    seen = 0
    for bound, count in reading.buckets:
        seen += count
        le = "+Inf" if bound is None else prometheus_number(bound)
        yield f"{name}_bucket{_labels({**reading.labels, 'le': le})} {seen}"
    yield f"{name}_sum{_labels(reading.labels)} {prometheus_number(reading.value)}"
    yield f"{name}_count{_labels(reading.labels)} {reading.count}"


def _labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{_legal(name)}="{_escape(value)}"' for name, value in labels.items()) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _escape_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
