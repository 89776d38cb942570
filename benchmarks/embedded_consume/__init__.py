"""How much the runtime adds to reading the embedded log at least once."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.measure import Benchmark, Check, Command, Runs, at_least, module


def _sides() -> Mapping[str, Command]:
    return {"ours": module("embedded_consume.ours"), "twin": module("embedded_consume.twin")}


def _judge(runs: Runs) -> list[Check]:
    return [at_least("ours / twin", runs.ratio("twin"), 0.5)]


BENCHMARK = Benchmark(
    name="embedded-consume",
    question="typed handler, at least once, on the embedded log",
    unit="messages/s",
    sides=_sides,
    judge=_judge,
)
