"""How much the runtime adds to a handler that writes a row and emits an event, effectively once."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.measure import Benchmark, Check, Command, Runs, at_least, at_most, module


def _sides() -> Mapping[str, Command]:
    return {"ours": module("embedded_effects.ours"), "twin": module("embedded_effects.twin")}


def _judge(runs: Runs) -> list[Check]:
    return [
        at_least("ours / twin", runs.ratio("twin"), 0.4),
        at_most("commits", runs.median("ours", "commits_per_message"), 0.02, "a message"),
        at_most("statements", runs.median("ours", "statements_per_message"), 6, "a message"),
    ]


BENCHMARK = Benchmark(
    name="embedded-effects",
    question="handler with a Transaction: one row, one emitted event, effectively once",
    unit="messages/s",
    sides=_sides,
    judge=_judge,
)
