"""Counters, gauges and histograms say what happened, and Prometheus can read it."""

import math
import re

import pytest

from antiphon.errors import UsageError
from antiphon.observability import names
from antiphon.observability.metrics import Metrics
from antiphon.observability.prometheus import prometheus_name, render_prometheus


def test_the_same_labels_give_the_same_instrument():
    metrics = Metrics(service="payments")
    metrics.counter(names.SENT, system="memory", topic="orders").inc()
    metrics.counter(names.SENT, topic="orders", system="memory").inc(2)
    assert metrics.total(names.SENT) == 3


def test_two_services_share_nothing():
    first, second = Metrics(), Metrics()
    first.counter(names.COMMITS).inc()
    assert second.total(names.COMMITS) == 0


@pytest.mark.parametrize("labels", [{}, {"system": "memory"}, {"system": "m", "topic": "t", "colour": "red"}])
def test_labels_that_do_not_fit_are_refused_when_the_instrument_is_bound(labels):
    with pytest.raises(UsageError, match="it has system, topic"):
        Metrics().counter(names.SENT, **labels)


def test_a_histogram_puts_a_value_on_its_bound_into_that_bucket():
    histogram = Metrics().histogram(names.TRANSACTION_WAIT)
    histogram.observe(0.005)
    histogram.observe(0.0051, times=2)
    histogram.observe_many([0.0001, 99.0])
    buckets = dict(histogram.read().buckets or [])
    assert (buckets[0.005], buckets[0.01], buckets[0.0001], buckets[None]) == (1, 2, 1, 1)
    assert histogram.count == 5
    assert math.isclose(histogram.total, 0.005 + 2 * 0.0051 + 0.0001 + 99.0)


def test_a_gauge_that_follows_is_read_when_someone_looks_until_it_stays():
    waiting = [1, 2, 3]
    metrics = Metrics()
    metrics.gauge(names.INFLIGHT).follow(lambda: len(waiting))
    waiting.append(4)
    assert [reading.value for reading in metrics.snapshot()] == [4]
    metrics.stay()
    waiting.append(5)
    assert [reading.value for reading in metrics.snapshot()] == [4]


def test_every_name_and_label_is_legal_for_prometheus_and_unique():
    legal = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
    exposed = [prometheus_name(definition) for definition in names.DEFINITIONS]
    assert all(legal.fullmatch(name) for name in exposed)
    assert len(set(exposed)) == len(exposed) > 20
    assert all(label in names.LABELS for definition in names.DEFINITIONS for label in definition.labels)


def test_the_usual_names_are_those_of_opentelemetry():
    usual = {definition.name for definition in names.DEFINITIONS if definition.name.startswith("messaging.")}
    assert usual == {
        "messaging.client.sent.messages",
        "messaging.client.consumed.messages",
        "messaging.client.operation.duration",
        "messaging.process.duration",
    }


def test_prometheus_reads_counters_of_several_services_under_one_heading():
    payments, orders = Metrics(service="payments"), Metrics(service="orders")
    payments.counter(names.RETRIES, handler="authorise").inc(2)
    orders.counter(names.RETRIES, handler="place").inc()
    assert render_prometheus([payments, orders]).splitlines() == [
        "# HELP antiphon_retries_total Attempts after the first.",
        "# TYPE antiphon_retries_total counter",
        'antiphon_retries_total{service_name="payments",antiphon_handler="authorise"} 2',
        'antiphon_retries_total{service_name="orders",antiphon_handler="place"} 1',
    ]


def test_prometheus_buckets_are_cumulative_and_end_with_infinity():
    metrics = Metrics()
    histogram = metrics.histogram(names.BATCH_SIZE)
    histogram.observe_many([1, 3, 1_000_000])
    text = render_prometheus([metrics])
    assert 'antiphon_batch_messages_bucket{le="1"} 1\n' in text
    assert 'antiphon_batch_messages_bucket{le="5"} 2\n' in text
    assert 'antiphon_batch_messages_bucket{le="+Inf"} 3\n' in text
    assert "antiphon_batch_messages_sum 1000004\nantiphon_batch_messages_count 3\n" in text


def test_label_values_cannot_break_out_of_their_quotes():
    metrics = Metrics()
    metrics.counter(names.SKIPPED, topic='a"b\\c\nd').inc()
    assert r'messaging_destination_name="a\"b\\c\nd"' in render_prometheus([metrics])


@pytest.mark.parametrize(("value", "text"), [(math.nan, "NaN"), (math.inf, "+Inf"), (-math.inf, "-Inf"), (0.5, "0.5")])
def test_numbers_that_are_no_numbers_are_written_as_prometheus_writes_them(value, text):
    metrics = Metrics()
    metrics.gauge(names.INFLIGHT).set(value)
    assert render_prometheus([metrics]).endswith(f"antiphon_inflight {text}\n")


def test_nothing_measured_renders_nothing():
    assert render_prometheus([Metrics()]) == ""
