"""How long one event takes through the outbox of a PostgreSQL store, from before its transaction to its handler."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.measure import Benchmark, Check, Command, Runs, at_most, module


def _sides() -> Mapping[str, Command]:
    return {"ours": module("outbox_latency.ours")}


def _judge(runs: Runs) -> list[Check]:
    return [at_most("p99", runs.median("ours"), 30, "ms")]


BENCHMARK = Benchmark(
    name="outbox-latency",
    question="one event at a time, published in a transaction on PostgreSQL, by outbox, relay and log to its handler",
    unit="ms p99",
    sides=_sides,
    judge=_judge,
    rounds=3,
)
