"""The rules file is YAML that says what the alerts say."""

from datetime import timedelta

import msgspec
import pytest

from antiphon.errors import UsageError
from antiphon.observability.rules import RecordingRule, RuleGroup, RulesFile, make_rules, render_rules
from antiphon.observability.thresholds import Thresholds


def rule(name, **changed):
    [group] = make_rules(Thresholds(**changed)).groups
    return next(one for one in group.rules if getattr(one, "alert", None) == name)


def test_what_is_recorded_comes_before_the_alerts_that_ask_for_it():
    [group] = make_rules().groups
    kinds = [isinstance(one, RecordingRule) for one in group.rules]
    assert kinds == sorted(kinds, reverse=True)
    assert True in kinds
    assert False in kinds


def test_a_threshold_is_what_the_alert_compares_with():
    assert rule("AntiphonLagOld", lag=timedelta(seconds=90)).expr.endswith(" > 90")
    assert rule("AntiphonHandlerSlow", slow_handling=timedelta(milliseconds=1500)).expr.endswith(" > 1.5")
    assert rule("AntiphonTopicPaused", topic_paused=timedelta(days=1)).lasting == "1d"


def test_an_alert_names_its_place_on_the_page():
    [group] = make_rules(runbooks="wiki/alerts").groups
    places = {one.annotations["runbook_url"] for one in group.rules if not isinstance(one, RecordingRule)}
    assert "wiki/alerts#antiphonlagold" in places
    assert rule("AntiphonGone").annotations["runbook_url"] == "docs/howto/alerts.md#antiphongone"


@pytest.mark.parametrize("address", ["", "a page", "page#there", "page\n"])
def test_what_is_no_address_of_a_page_is_refused(address):
    with pytest.raises(UsageError, match="is no address of a page"):
        make_rules(runbooks=address)


def test_the_same_thresholds_give_the_same_text():
    assert render_rules(make_rules()) == render_rules(make_rules(Thresholds()))


def test_quotes_and_lines_are_kept_in_yaml():
    rules = RulesFile([RuleGroup("it's", [RecordingRule("a:b", 'x{y="z"}\n  and w'), RecordingRule("c", "#: {}")])])
    assert render_rules(rules).splitlines()[1:] == [
        "groups:",
        "  - name: 'it''s'",
        "    rules:",
        "      - record: 'a:b'",
        "        expr: |-",
        '          x{y="z"}',
        "            and w",
        "      - record: 'c'",
        "        expr: '#: {}'",
    ]


def test_as_json_it_has_the_names_that_prometheus_reads():
    [group] = msgspec.json.decode(msgspec.json.encode(make_rules()))["groups"]
    assert set(group["rules"][0]) == {"record", "expr"}
    assert set(group["rules"][-1]) == {"alert", "expr", "for", "labels", "annotations"}
