"""How the alerts are written for Prometheus: a rules file in YAML, made from the table of names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias, cast

import msgspec
from msgspec import UNSET, Struct, UnsetType

from antiphon.errors import UsageError
from antiphon.observability.alerts import COUNTED, Alert, alerts
from antiphon.observability.promql import Asking, span
from antiphon.observability.thresholds import Thresholds

RUNBOOKS = "docs/howto/alerts.md"
"""The page that says what to do about each alert."""

_HEADING = "# Made by `antiphon alerts`. Make it again instead of changing it.\n"
_ADDRESS = re.compile(r"[^\s#\x00-\x1f\x7f]+")
_Tree: TypeAlias = "dict[str, _Tree] | list[_Tree] | str"


class RecordingRule(Struct, frozen=True):
    """A question that Prometheus asks regularly, and the name of the answer."""

    record: str
    expr: str


class AlertingRule(Struct, frozen=True, kw_only=True):
    """A question whose answers alert when they last."""

    alert: str
    expr: str
    lasting: str | UnsetType = msgspec.field(name="for", default=UNSET)
    labels: dict[str, str]
    annotations: dict[str, str]


class RuleGroup(Struct, frozen=True):
    """Rules that are asked one after the other."""

    name: str
    rules: list[RecordingRule | AlertingRule]


class RulesFile(Struct, frozen=True):
    """What Prometheus reads."""

    groups: list[RuleGroup]


def make_rules(
    thresholds: Thresholds | None = None, apart: tuple[str, ...] = ("job",), runbooks: str = RUNBOOKS
) -> RulesFile:
    """The rules of every alert.

    Services are kept `apart` by these labels that the scrape adds. Each alert names its place on the page `runbooks`.
    Raises UsageError when a label or address is none.
    """
    if not _ADDRESS.fullmatch(runbooks):
        raise UsageError(f"{runbooks!r} is no address of a page: give one without spaces and '#'")
    given = thresholds or Thresholds()
    asking = Asking(window=given.window, apart=apart)
    # One group, because Prometheus asks the rules of a group in order: what is recorded is there when it alerts.
    recorded = [RecordingRule(asking.recorded(one), asking.growth(one)) for one in COUNTED]
    alerting = [_alerting(alert, runbooks) for alert in alerts(given, asking)]
    return RulesFile([RuleGroup("antiphon", [*recorded, *alerting])])


def render_rules(rules: RulesFile) -> str:
    """The file's text. The same rules give the same text."""
    tree = cast("_Tree", msgspec.to_builtins(rules))
    return _HEADING + "\n".join(_lines(tree)) + "\n"


def _alerting(alert: Alert, runbooks: str) -> AlertingRule:
    annotations = {
        "summary": alert.told(alert.summary),
        "description": alert.told(alert.description),
        "runbook_url": f"{runbooks}#{alert.anchor}",
    }
    return AlertingRule(
        alert=alert.name,
        expr=alert.expr,
        lasting=span(alert.lasting) if alert.lasting else UNSET,
        labels={"severity": alert.severity},
        annotations=annotations,
    )


def _lines(tree: _Tree) -> Iterator[str]:
    if isinstance(tree, str):
        yield "'" + tree.replace("'", "''") + "'"
    elif isinstance(tree, dict):
        for name, value in tree.items():
            yield from _named(name, value)
    else:
        for item in tree:
            first, *rest = _lines(item)
            yield f"- {first}"
            yield from _indented(rest)


def _named(name: str, value: _Tree) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{name}:"
        yield from _indented(_lines(value))
    elif "\n" in value:
        yield f"{name}: |-"
        yield from _indented(value.splitlines())
    else:
        yield f"{name}: {next(_lines(value))}"


def _indented(lines: Iterator[str] | list[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)
