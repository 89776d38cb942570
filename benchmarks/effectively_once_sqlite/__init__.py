"""How fast a handler is effectively once on a SQLite store beside the log, with outbox and relay between."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.measure import Benchmark, Check, Command, Runs, at_least, at_most, module


def _sides() -> Mapping[str, Command]:
    return {"ours": module("effectively_once_sqlite.ours"), "twin": module("effectively_once_sqlite.twin")}


def _judge(runs: Runs) -> list[Check]:
    return [
        at_least("ours / twin", runs.ratio("twin"), 0.4),
        at_most("commits", runs.median("ours", "commits_per_message"), 0.03, "a message"),
    ]


BENCHMARK = Benchmark(
    name="effectively-once-sqlite",
    question="consume, inbox, one row, one event by outbox and relay into the log; a SQLite store beside the log",
    unit="messages/s",
    sides=_sides,
    judge=_judge,
)
