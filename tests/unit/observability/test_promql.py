"""Questions to Prometheus name only metrics and labels that there are."""

from datetime import timedelta

import pytest

from antiphon.errors import UsageError
from antiphon.observability import names
from antiphon.observability.promql import Asking, span

ASK = Asking(window=timedelta(minutes=5))


@pytest.mark.parametrize(
    ("duration", "written"),
    [
        (timedelta(minutes=5), "5m"),
        (timedelta(seconds=90), "90s"),
        (timedelta(hours=36), "36h"),
        (timedelta(days=7), "7d"),
        (timedelta(milliseconds=1500), "1500ms"),
        (timedelta(), "0s"),
    ],
)
def test_a_duration_is_written_in_the_largest_unit_that_divides_it(duration, written):
    assert span(duration) == written


def test_an_answer_is_for_each_service_and_the_labels_asked_for():
    assert ASK.now(names.LAG, "topic") == "max by (job, service_name, messaging_destination_name) (antiphon_lag)"


def test_services_are_kept_apart_by_what_the_scrape_adds():
    ask = Asking(window=timedelta(minutes=1), apart=("job", "cluster"))
    assert ask.now(names.SCHEDULED) == "max by (job, cluster, service_name) (antiphon_scheduled)"


def test_a_label_is_kept_once_however_often_it_is_named():
    ask = Asking(window=timedelta(minutes=1), apart=("job", "job", "service_name"))
    assert ask.by(()) == "by (job, service_name)"


@pytest.mark.parametrize("name", ["", "a-b", "1st", 'a"b', "a b", "__name__", "a,b", "job)"])
def test_what_is_no_name_for_a_label_is_refused(name):
    with pytest.raises(UsageError, match="is no name for a label"):
        Asking(window=timedelta(minutes=1), apart=(name,))


@pytest.mark.parametrize(
    "ask",
    [
        lambda: ASK.now(names.LAG, "handler"),
        lambda: ASK.now(names.LAG, where={"handler": "x"}),
        lambda: ASK.rise(names.LAG, "handler", over=timedelta(minutes=1)),
        lambda: ASK.recent(names.RETRIES, "topic"),
        lambda: ASK.recent(names.RETRIES, unlike={"topic": "x"}),
        lambda: ASK.quantile(0.5, names.PROCESS_DURATION, "group"),
    ],
)
def test_a_label_that_a_metric_does_not_have_is_refused(ask):
    with pytest.raises(UsageError, match="was asked by the label"):
        ask()


def test_what_is_recorded_says_over_which_window():
    assert ASK.recorded(names.PARKED) == "service:antiphon_parked:increase5m"
    assert Asking(window=timedelta(hours=1)).recorded(names.PARKED) == "service:antiphon_parked:increase1h"
