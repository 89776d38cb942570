"""How fast the relay alone moves what rests in PostgreSQL into the embedded log."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.measure import Benchmark, Check, Command, Runs, at_least, module


def _sides() -> Mapping[str, Command]:
    return {"ours": module("outbox_relay.ours"), "twin": module("outbox_relay.twin")}


def _judge(runs: Runs) -> list[Check]:
    return [at_least("ours / twin", runs.ratio("twin"), 0.6)]


BENCHMARK = Benchmark(
    name="outbox-relay",
    question="the relay alone: events that were staged beforehand, from PostgreSQL into the embedded log",
    unit="messages/s",
    sides=_sides,
    judge=_judge,
)
