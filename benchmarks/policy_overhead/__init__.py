"""What the whole failure policy costs while nothing fails."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.measure import Benchmark, Check, Command, Runs, at_least, module


def _sides() -> Mapping[str, Command]:
    return {"ours": module("policy_overhead.side", "whole"), "twin": module("policy_overhead.side", "none")}


def _judge(runs: Runs) -> list[Check]:
    return [at_least("whole policy / policy=None, median of the pairs", runs.median_of_pairs("twin"), 0.95)]


BENCHMARK = Benchmark(
    name="policy-overhead",
    question="a handler with retries, a breaker and deadlines on, nothing failing, against policy=None",
    unit="messages/s",
    sides=_sides,
    judge=_judge,
    rounds=15,
)
