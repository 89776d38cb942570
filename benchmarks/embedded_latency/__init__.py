"""How long one message takes from the call that publishes it to its handler, in one process and across two."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.measure import Benchmark, Check, Command, Runs, at_most, module


def _sides() -> Mapping[str, Command]:
    return {"ours": module("embedded_latency.ours")}


def _judge(runs: Runs) -> list[Check]:
    return [
        at_most("p99 in one process", runs.median("ours", "one_p99"), 10, "ms"),
        at_most("p99 across two processes", runs.median("ours", "two_p99"), 10, "ms"),
    ]


BENCHMARK = Benchmark(
    name="embedded-latency",
    question="one message at a time, publish to handled, durable",
    unit="ms p99",
    sides=_sides,
    judge=_judge,
    rounds=3,
)
