"""How much composing messages and the adapter add to writing events to Kafka, a thousand at a time."""

from __future__ import annotations

from collections.abc import Mapping

from antiphon.testing.servers import KafkaServer
from benchmarks.measure import Benchmark, Check, Command, Runs, at_least, module
from benchmarks.peers import peer, program

COUNT, PEERS = 100_000, 10_000


def _sides() -> Mapping[str, Command]:
    return {
        "ours": module("kafka_publish.ours", str(COUNT)),
        "twin": module("kafka_publish.twin", str(COUNT)),
        "peer": (str(peer("faststream")), str(program("faststream_kafka_publish")), str(PEERS)),
    }


def _judge(runs: Runs) -> list[Check]:
    return [
        at_least("ours / twin", runs.ratio("twin"), 0.6),
        at_least("ours / FastStream, 500 in flight", runs.ratio("peer"), 12),
    ]


BENCHMARK = Benchmark(
    name="kafka-publish",
    question="batches of 1,000 typed events of some 256 bytes, confirmed by Kafka",
    unit="messages/s",
    sides=_sides,
    judge=_judge,
    server=lambda: KafkaServer(fast=False, memory="1g"),
    prepare=module("filling", "1000"),
)
