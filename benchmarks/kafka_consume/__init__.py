"""How much the runtime and the adapter add to reading Kafka at least once, by a group."""

from __future__ import annotations

from collections.abc import Mapping

from antiphon.testing.servers import KafkaServer
from benchmarks.hand_kafka import DRIVERS_ROOM, ROOM
from benchmarks.measure import Benchmark, Check, Command, Runs, at_least, module
from benchmarks.peers import peer, program

COUNT = 200_000


def _sides() -> Mapping[str, Command]:
    faststream = str(peer("faststream"))
    return {
        "ours": module("reading", str(COUNT)),
        "twin": module("kafka_consume.twin", str(COUNT), str(ROOM)),
        "untuned": module("kafka_consume.twin", str(COUNT), str(DRIVERS_ROOM)),
        "peer": (faststream, str(program("faststream_kafka_consume")), "committing"),
        "fastest": (faststream, str(program("faststream_kafka_consume")), "fastest"),
    }


def _judge(runs: Runs) -> list[Check]:
    return [
        at_least("ours / twin", runs.ratio("twin"), 0.6),
        at_least("ours / twin that leaves the driver's settings", runs.ratio("untuned"), 0.6),
        at_least("ours / FastStream, committing what it handled", runs.ratio("peer"), 20),
        at_least("ours / FastStream, committing what it received", runs.ratio("fastest"), 8),
    ]


BENCHMARK = Benchmark(
    name="kafka-consume",
    question="typed no-op handler, at least once, on Kafka, metrics on",
    unit="messages/s",
    sides=_sides,
    judge=_judge,
    server=lambda: KafkaServer(fast=False, memory="1g"),
    prepare=module("filling", str(COUNT)),
)
