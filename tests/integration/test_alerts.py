"""Prometheus' own tool accepts the rules, and each alert fires when it should and only then."""

import subprocess
from datetime import timedelta
from typing import NamedTuple

import msgspec
import pytest

from antiphon.observability import names
from antiphon.observability.alerts import alerts
from antiphon.observability.metrics import Metrics
from antiphon.observability.prometheus import prometheus_label, prometheus_name, render_prometheus
from antiphon.observability.promql import Asking
from antiphon.observability.rules import make_rules, render_rules
from antiphon.observability.thresholds import Thresholds
from tests.promtool import promtool

ALERTS = {alert.name: alert for alert in alerts(Thresholds(), Asking(window=Thresholds().window))}
Series = dict[str, str]
"""What is measured each minute, in promtool's form: `0x5` is six zeros, `1+2x3` grows, `_` a gap, `stale` the end."""


def tool(*arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [promtool(), *arguments], input=given, capture_output=True, text=True, check=False, timeout=60
    )


def of(definition: names.Definition, ending: str = "", *, instance: str = "a", **labels: str) -> str:
    """A series as it is scraped from one process."""
    le = {"le": labels.pop("le")} if "le" in labels else {}
    outside = {prometheus_label(word): value for word, value in {"service": "payments", **labels}.items()}
    written = ",".join(
        f'{name}="{value}"' for name, value in {**outside, **le, "instance": instance, "job": "j"}.items()
    )
    return f"{prometheus_name(definition)}{ending}{{{written}}}"


def up(instance: str = "a") -> str:
    return f'up{{instance="{instance}",job="j"}}'


def firing(folder, alert: str, series: Series, minute: int, thresholds: Thresholds | None = None, **how) -> int:
    """How many alerts of this name fire at that minute, as promtool computes it from the series."""
    (folder / "rules.yml").write_text(render_rules(make_rules(thresholds, **how)))
    asked = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}}) or vector(0)'
    for number in range(4):
        if story_is_right(folder, series, minute, asked, number):
            return number
    raise AssertionError(f"{alert}: promtool computes no small number of alerts")


def story_is_right(folder, series: Series, minute: int, asked: str, number: int) -> bool:
    story = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [
                    {"expr": asked, "eval_time": f"{minute}m", "exp_samples": [{"labels": "{}", "value": number}]}
                ],
            }
        ],
    }
    (folder / "story.yml").write_bytes(msgspec.json.encode(story))
    done = tool("test", "rules", str(folder / "story.yml"))
    assert "parse error" not in done.stderr + done.stdout, done
    return done.returncode == 0


class Story(NamedTuple):
    """What is measured when an alert has to fire, and what when it must not; both are looked at in `minute`."""

    fires: Series
    quiet: Series
    minute: int = 40


def counted(definition: names.Definition, fires: str, quiet: str, minute: int = 40, **labels: str) -> Story:
    name = of(definition, **labels)
    return Story({up(): "1x60", name: fires}, {up(): "1x60", name: quiet}, minute)


def ratio(definition: names.Definition, bad: str, fine: str, **labels: str) -> Story:
    runs = of(names.PROCESS_DURATION, "_count", topic="orders", handler="charge")
    some = of(names.FAILURES, handler="charge", error="ValueError")
    name = of(definition, handler="charge", **labels)
    always = {up(): "1x60", some: "0x60", runs: "0+100x60"}
    return Story({**always, name: bad}, {**always, name: fine})


def spread(definition: names.Definition, **labels: str) -> Story:
    """A hundred a minute, of which half, or one in two hundred, took longer than a second."""

    def buckets(quick: str) -> Series:
        return {
            of(definition, "_bucket", le="0.5", **labels): quick,
            of(definition, "_bucket", le="2.5", **labels): "0+200x60",
            of(definition, "_bucket", le="+Inf", **labels): "0+200x60",
        }

    return Story(buckets("0+100x60"), buckets("0+199x60"))


STORIES = {
    "AntiphonPublishFails": counted(names.PUBLISH_FAILURES, "0+1x60", "0x10 1x50", topic="orders", error="Refused"),
    "AntiphonPublishSlow": spread(names.OPERATION_DURATION, system="embedded", operation="send"),
    "AntiphonScheduledLate": counted(names.SCHEDULED_LATE, "61x60", "60x60"),
    "AntiphonOutboxOld": counted(names.OUTBOX_AGE, "61x60", "60x60"),
    "AntiphonHandlerFails": ratio(names.FAILURES, "0+10x60", "0+5x60", error="ValueError"),
    "AntiphonRetryStorm": ratio(names.RETRIES, "0+60x60", "0+50x60"),
    "AntiphonHandlerSlow": spread(names.PROCESS_DURATION, topic="orders", handler="charge"),
    "AntiphonDeadlinesMissed": counted(names.DEADLINES_MISSED, "0x37 1x20", "1x60", handler="charge"),
    "AntiphonLagGrows": counted(names.LAG, "1001+1x60", "5000x60", topic="orders", group="payments"),
    "AntiphonLagOld": counted(names.LAG_SECONDS, "301x60", "300x60", topic="orders", group="payments"),
    "AntiphonDeadLettersArrive": counted(
        names.PARKED, "_x37 1x20", "_x10 1x50", handler="charge", reason="exhausted", fingerprint="0123456789ab"
    ),
    "AntiphonSameFailure": counted(
        names.PARKED, "0x37 11x20", "0x37 9x20", handler="charge", reason="exhausted", fingerprint="0123456789ab"
    ),
    "AntiphonDeadLettersHeld": counted(names.DEAD_LETTERS, "101x60", "100x60", group="payments"),
    "AntiphonMessagesBehind": counted(names.SET_ASIDE, "101x60", "100x60", group="payments", state="behind"),
    "AntiphonCircuitOpen": counted(names.CIRCUIT_STATE, "0x30 2 2 1 2 2 1 2 2 1 2x20", "0x36 2x20", topic="orders"),
    "AntiphonTopicPaused": counted(names.TOPIC_PAUSED, "1x70", "1x20 0x1 1x50", 65, topic="orders", reason="operator"),
    "AntiphonPartitionsPaused": counted(names.PAUSED_PARTITIONS, "2x60", "0x60"),
    "AntiphonProcessDied": counted(names.PROCESS_DEATHS, "_x37 1x20", "0x60"),
    "AntiphonFetchFails": counted(names.FETCH_FAILURES, "0+1x60", "0x10 5x50", error="ConnectionLostError"),
    "AntiphonSettleFails": counted(names.SETTLE_FAILURES, "0+1x60", "0x10 5x50", error="StoreError"),
    "AntiphonStalled": counted(names.STALLED, "0x30 1x20", "0x30 1 0x20", part="fetching"),
    "AntiphonGone": counted(names.INFLIGHT, "0x30 stale", "0x60"),
}


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_fires_when_it_should_and_only_then(tmp_path, alert):
    story = STORIES[alert]
    assert firing(tmp_path, alert, story.fires, story.minute) == 1
    assert firing(tmp_path, alert, story.quiet, story.minute) == 0


def test_prometheus_accepts_the_rules(tmp_path):
    rules = tmp_path / "rules.yml"
    changed = Thresholds(window=timedelta(seconds=90), lag=timedelta(), error_ratio=0.001, lag_messages=10**9)
    for made in (make_rules(), make_rules(changed, ("cluster", "namespace"), "http://wiki/it's/alerts")):
        rules.write_text(render_rules(made))
        done = tool("check", "rules", str(rules))
        assert done.returncode == 0, done.stderr
        assert f"{len(made.groups[0].rules)} rules found" in done.stdout


def test_prometheus_accepts_the_rules_as_json(tmp_path):
    rules = tmp_path / "rules.json"
    rules.write_bytes(msgspec.json.encode(make_rules()))
    assert tool("check", "rules", str(rules)).returncode == 0


def test_prometheus_refuses_rules_that_are_wrong(tmp_path):
    rules = tmp_path / "rules.yml"
    rules.write_text(render_rules(make_rules()).replace("max by (job", "max by job", 1))
    done = tool("check", "rules", str(rules))
    assert (done.returncode, "parse error" in done.stderr) == (1, True)


def test_the_first_failure_of_its_kind_alerts(tmp_path):
    parked = of(names.PARKED, handler="charge", reason="exhausted", fingerprint="0123456789ab")
    story = {up(): "1x60", parked: "_x30 1x30"}
    assert [firing(tmp_path, "AntiphonDeadLettersArrive", story, minute) for minute in (29, 30, 34, 36)] == [0, 1, 1, 0]


def test_the_first_failure_of_a_new_process_alerts(tmp_path):
    parked = of(names.PARKED, instance="b", handler="charge", reason="exhausted", fingerprint="0123456789ab")
    story = {up("a"): "1x60", up("b"): "_x30 1x30", parked: "_x30 1x30"}
    assert firing(tmp_path, "AntiphonDeadLettersArrive", story, 32) == 1


@pytest.mark.parametrize("process", ["1x10 _x30 1x60", "1x10 0x30 1x60"], ids=["Prometheus", "the process"])
def test_old_failures_do_not_alert_again_when_what_was_out_of_reach_is_back(tmp_path, process):
    parked = of(names.PARKED, handler="charge", reason="exhausted", fingerprint="0123456789ab")
    story = {up(): process, parked: "50x10 _x30 50x60"}
    assert [firing(tmp_path, "AntiphonDeadLettersArrive", story, minute) for minute in (41, 43, 46, 49)] == [0] * 4


def test_a_restart_of_the_process_is_no_failure(tmp_path):
    parked = of(names.PARKED, handler="charge", reason="exhausted", fingerprint="0123456789ab")
    story = {up(): "1x60", parked: "50x30 0x30"}
    assert firing(tmp_path, "AntiphonDeadLettersArrive", story, 32) == 0


def test_different_failures_beyond_the_limit_are_not_taken_for_the_same(tmp_path):
    parked = of(names.PARKED, handler="charge", reason="exhausted", fingerprint="other")
    assert firing(tmp_path, "AntiphonSameFailure", {up(): "1x60", parked: "0+100x60"}, 30) == 0


def test_a_few_runs_say_nothing_about_a_share(tmp_path):
    runs = of(names.PROCESS_DURATION, "_count", topic="orders", handler="charge")
    failures = of(names.FAILURES, handler="charge", error="ValueError")
    story = {up(): "1x60", runs: "0x60", failures: "0+3x60"}
    assert firing(tmp_path, "AntiphonHandlerFails", story, 30) == 0
    assert firing(tmp_path, "AntiphonHandlerFails", story, 30, Thresholds(least_runs=10)) == 1


def test_what_every_process_says_of_the_whole_group_alerts_once(tmp_path):
    story = {of(names.LAG_SECONDS, instance=each, topic="orders", group="payments"): "900x10" for each in "abc"}
    assert firing(tmp_path, "AntiphonLagOld", story, 5) == 1


def test_clusters_alert_each_for_itself_when_kept_apart(tmp_path):
    name = of(names.LAG_SECONDS, topic="orders", group="payments")
    story = {name.replace("}", f',cluster="{each}"}}'): "900x10" for each in ("east", "west")}
    assert firing(tmp_path, "AntiphonLagOld", story, 5) == 1
    assert firing(tmp_path, "AntiphonLagOld", story, 5, apart=("job", "cluster")) == 2


def test_a_service_that_is_gone_for_an_hour_is_missed_no_more(tmp_path):
    story = {of(names.INFLIGHT): "0x3 stale"}
    assert [firing(tmp_path, "AntiphonGone", story, minute) for minute in (8, 30, 80)] == [0, 1, 0]


def test_prometheus_reads_what_a_service_exposes():
    metrics = Metrics(service="payments")
    for definition in names.DEFINITIONS:
        labels = dict.fromkeys(definition.labels, 'a "b" \\ c')
        kind = {
            names.CounterDefinition: metrics.counter,
            names.GaugeDefinition: metrics.gauge,
            names.HistogramDefinition: metrics.histogram,
        }[type(definition)]
        kind(definition, **labels)
    done = tool("check", "metrics", given=render_prometheus([metrics]))
    assert done.returncode == 0, done.stderr
