"""How much composing messages and the broker add to writing events durably, a thousand at a time."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.measure import Benchmark, Check, Command, Runs, at_least, module


def _sides() -> Mapping[str, Command]:
    return {"ours": module("embedded_publish.ours"), "twin": module("embedded_publish.twin")}


def _judge(runs: Runs) -> list[Check]:
    return [at_least("ours / twin", runs.ratio("twin"), 0.6)]


BENCHMARK = Benchmark(
    name="embedded-publish",
    question="batches of 1,000 typed events of some 256 bytes, durable",
    unit="messages/s",
    sides=_sides,
    judge=_judge,
)
