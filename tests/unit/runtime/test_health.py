"""Readiness turns red when a part stalls, and says which."""

from datetime import timedelta

import pytest

from antiphon.observability import names
from antiphon.observability.metrics import Metrics
from antiphon.runtime.health import Outage, ServiceHealth, liveness, readiness
from antiphon.runtime.probes import Probes

LIMIT = timedelta(seconds=60)


class Elapsed:
    """A time that only this test moves."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def elapsed():
    return Elapsed()


@pytest.fixture
def health(elapsed):
    found = ServiceHealth("payments", LIMIT, elapsed)
    found.state = "running"
    return found


@pytest.mark.parametrize("part", ["fetching", "committing", "publishing", "settling"])
def test_a_part_that_stalls_turns_readiness_red_and_is_named(health, elapsed, part):
    pulse = getattr(health, part)
    pulse.begin()
    elapsed.seconds = 60.0
    assert readiness([health]).ok
    elapsed.seconds = 61.0
    report = readiness([health])
    assert not report.ok
    assert report.problems == (f"payments: {part} has not got on for 61.0 s (limit 60 s)",)
    pulse.beat()
    assert readiness([health]).ok


def test_what_keeps_a_part_from_getting_on_is_named_until_it_gets_on(health, elapsed):
    health.fetching.begin()
    health.fetching.trouble = "kafka://shop does not let us in"
    named = [part.trouble for part in readiness([health]).parts if part.trouble]
    assert named == ["kafka://shop does not let us in"]
    elapsed.seconds = 61.0
    (problem,) = readiness([health]).problems
    assert problem.endswith("(limit 60 s): kafka://shop does not let us in")
    health.fetching.beat()
    assert not any(part.trouble for part in readiness([health]).parts)


def test_a_part_with_nothing_to_do_cannot_stall(health, elapsed):
    health.settling.begin()
    health.settling.rest()
    elapsed.seconds = 3600.0
    assert readiness([health]).ok


def test_the_time_before_it_had_something_to_do_does_not_count(health, elapsed):
    elapsed.seconds = 3600.0
    health.settling.begin()
    assert readiness([health]).ok


def test_more_to_do_while_busy_does_not_hide_a_stall(health, elapsed):
    health.settling.begin()
    elapsed.seconds = 61.0
    health.settling.begin()
    assert not readiness([health]).ok


def test_a_store_that_is_away_turns_readiness_red_and_is_named(health, elapsed):
    health.away["postgresql://db/shop"] = Outage(100.0, "no login")
    elapsed.seconds = 112.0
    told = "payments: the store postgresql://db/shop has been away for 12.0 s: no login"
    assert readiness([health]).problems == (told,)
    assert liveness([health]).ok


def test_a_stalled_fetch_is_no_reason_to_kill_the_process_but_a_stalled_loop_is(health, elapsed):
    health.fetching.begin()
    elapsed.seconds = 61.0
    assert liveness([health]).ok
    health.loop.begin()
    elapsed.seconds = 130.0
    assert not liveness([health]).ok


@pytest.mark.parametrize("state", ["starting", "draining", "stopped"])
def test_a_service_that_does_not_run_is_alive_but_not_ready(health, state):
    health.state = state
    assert liveness([health]).ok
    assert readiness([health]).problems == (f"payments is {state}",)


def test_one_service_that_stalls_makes_the_process_not_ready(health, elapsed):
    other = ServiceHealth("orders", LIMIT, elapsed)
    other.state = "running"
    other.fetching.begin()
    elapsed.seconds = 61.0
    assert [problem.split(":")[0] for problem in readiness([health, other]).problems] == ["orders"]


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/live", 200),
        ("HEAD", "/ready?verbose=1", 200),
        ("GET", "/metrics", 200),
        ("GET", "/", 404),
        ("POST", "/nowhere", 404),
        ("POST", "/ready", 405),
        ("get", "/ready", 405),
    ],
)
def test_only_three_pages_can_be_read_and_none_written(health, method, target, status):
    answer = Probes([health], [], 0).answer(method, target)
    assert answer.status == status
    assert (answer.allow == "GET, HEAD") == (status == 405)


def test_the_metrics_page_is_for_prometheus(health):
    metrics = Metrics(service="payments")
    metrics.counter(names.COMMITS).inc()
    answer = Probes([health], [metrics], 0).answer("GET", "/metrics")
    assert b'antiphon_transaction_commits_total{service_name="payments"} 1' in answer.body
    assert answer.content_type.startswith("text/plain; version=0.0.4")
