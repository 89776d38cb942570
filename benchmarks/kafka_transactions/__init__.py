"""How much the runtime adds to making events of events in Kafka's transactions, effectively once."""

from __future__ import annotations

from collections.abc import Mapping

from antiphon.testing.servers import KafkaServer
from benchmarks.measure import Benchmark, Check, Command, Runs, at_least, module

COUNT = 100_000


def _sides() -> Mapping[str, Command]:
    return {
        "ours": module("kafka_transactions.ours", str(COUNT)),
        "twin": module("kafka_transactions.twin", str(COUNT)),
    }


def _judge(runs: Runs) -> list[Check]:
    return [at_least("ours / twin", runs.ratio("twin"), 0.5)]


BENCHMARK = Benchmark(
    name="kafka-transactions",
    question="an event of each event, in Kafka's transactions with the group's positions",
    unit="messages/s",
    sides=_sides,
    judge=_judge,
    server=lambda: KafkaServer(fast=False, memory="1g"),
    prepare=module("filling", str(COUNT)),
)
