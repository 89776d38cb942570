"""How much longer a message takes to its handler through ours, at half of the load that ours bears on this machine."""

from __future__ import annotations

from collections.abc import Mapping

from antiphon.testing.servers import KafkaServer
from benchmarks.measure import Benchmark, Check, Command, Runs, at_most, module


def _sides() -> Mapping[str, Command]:
    return {"ours": module("kafka_latency.ours"), "twin": module("kafka_latency.twin")}


def _judge(runs: Runs) -> list[Check]:
    return [
        at_most("p50, ours / twin", runs.ratio("twin", "p50"), 1.3),
        at_most("p99, ours / twin", runs.ratio("twin", "p99"), 1.5),
    ]


BENCHMARK = Benchmark(
    name="kafka-latency",
    question="publish to handled at half load, from one process to another through Kafka",
    unit="ms p99",
    sides=_sides,
    judge=_judge,
    rounds=9,
    server=lambda: KafkaServer(fast=False, memory="1g"),
    prepare=module("filling", "1000"),
    load=module("kafka_latency.half"),
)
