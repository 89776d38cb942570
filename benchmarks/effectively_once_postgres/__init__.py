"""How fast a handler is effectively once on PostgreSQL, with outbox and relay between it and the log."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.measure import Benchmark, Check, Command, Runs, at_least, at_most, module


def _sides() -> Mapping[str, Command]:
    return {"ours": module("effectively_once_postgres.ours"), "twin": module("effectively_once_postgres.twin")}


def _judge(runs: Runs) -> list[Check]:
    return [
        at_least("ours / twin", runs.ratio("twin"), 0.6),
        at_most("round trips", runs.median("ours", "round_trips_per_message"), 0.05, "a message"),
    ]


BENCHMARK = Benchmark(
    name="effectively-once-postgres",
    question="consume, inbox, one row, one event by outbox and relay into the log; the store is PostgreSQL on loopback",
    unit="messages/s",
    sides=_sides,
    judge=_judge,
)
