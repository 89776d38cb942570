"""The alerts ask for what is measured, and everything measured is asked for or left out for a reason."""

import re

import pytest

from antiphon.observability import names
from antiphon.observability.alerts import COUNTED, NOT_ALERTED, Alert, alerts
from antiphon.observability.names import DEFINITIONS
from antiphon.observability.prometheus import prometheus_label, prometheus_name
from antiphon.observability.promql import Asking
from antiphon.observability.thresholds import Thresholds

ASK = Asking(window=Thresholds().window)
ALERTS = alerts(Thresholds(), ASK)


def words(expression: str) -> set[str]:
    return set(re.findall(r"[\w:]+", expression))


def asked(definition) -> bool:
    """Whether an alert asks for this metric, as it is or as it is recorded."""
    forms = {prometheus_name(definition) + ending for ending in ("", "_bucket", "_count")} | {ASK.recorded(definition)}
    return any(forms & words(alert.expr) for alert in ALERTS)


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda one: one.name)
def test_everything_measured_is_asked_for_or_left_out_for_a_reason(definition):
    assert asked(definition) != (definition in NOT_ALERTED), f"{definition.name}: in an alert, or in NOT_ALERTED"
    assert NOT_ALERTED.get(definition, "a reason").strip()


def test_alerts_ask_for_nothing_that_is_not_measured():
    exposed = {prometheus_name(one) + ending for one in DEFINITIONS for ending in ("", "_bucket", "_count")}
    recorded = {ASK.recorded(one) for one in COUNTED}
    named = {word for alert in ALERTS for word in words(alert.expr) if word.startswith(("antiphon_", "service:"))}
    labels = {prometheus_label(word) for word in names.LABELS}
    assert named - labels <= exposed | recorded


@pytest.mark.parametrize(
    "definition",
    [
        names.LAG,
        names.LAG_SECONDS,
        names.DEAD_LETTERS,
        names.SET_ASIDE,
        names.SCHEDULED,
        names.SCHEDULED_LATE,
    ],
    ids=lambda one: one.name,
)
def test_what_every_process_says_alike_is_counted_once(definition):
    """Added up over the processes it would be as many times too much."""
    name = prometheus_name(definition)
    of_it = [alert.expr for alert in ALERTS if name in words(alert.expr)]
    assert bool(of_it) != (definition in NOT_ALERTED)
    for expression in (*of_it, ASK.now(definition)):
        assert len(re.findall(rf"max by \([^)]*\) \((?:delta\()?{name}\b", expression)) == expression.count(name)


def test_what_is_recorded_is_what_alerts_ask_for():
    found = {word for alert in ALERTS for word in words(alert.expr) if word.startswith("service:")}
    assert found == {ASK.recorded(one) for one in COUNTED}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda one: one.name)
def test_the_texts_name_only_labels_that_the_answer_has(alert):
    kept = {prometheus_label(word) for word in ("service", *alert.keeps)}
    clauses = re.findall(r"by \(([^)]*)\)", alert.expr)
    assert clauses
    assert all(kept == {name.strip() for name in clause.split(",")} - {"job", "le"} for clause in clauses)
    for text in (alert.summary, alert.description):
        assert "{{ $" in alert.told(text) or "{" not in text


def test_a_text_that_names_a_label_which_is_not_kept_is_refused():
    alert = Alert(name="A", expr="1", severity="warning", summary="{topic} of {service}", description="")
    with pytest.raises(KeyError, match="topic"):
        alert.told(alert.summary)


def test_alerts_have_names_of_their_own():
    assert len({alert.name for alert in ALERTS}) == len({alert.anchor for alert in ALERTS}) == len(ALERTS)
