"""How much the runtime and the adapter add to reading quorum queues of RabbitMQ at least once."""

from __future__ import annotations

from collections.abc import Mapping

from antiphon.testing.servers import RabbitServer
from benchmarks.measure import Benchmark, Check, Command, Runs, at_least, module
from benchmarks.peers import peer, program

COUNT, PEERS = 20_000, 5_000


def _sides() -> Mapping[str, Command]:
    return {
        "ours": module("rabbitmq_consume.ours", str(COUNT)),
        "twin": module("rabbitmq_consume.twin", str(COUNT)),
        "peer": (str(peer("faststream")), str(program("faststream_rabbitmq_consume")), str(PEERS)),
    }


def _judge(runs: Runs) -> list[Check]:
    return [
        at_least("ours / twin", runs.ratio("twin"), 0.6),
        at_least("ours / FastStream", runs.ratio("peer"), 1),
    ]


BENCHMARK = Benchmark(
    name="rabbitmq-consume",
    question="typed no-op handler, at least once, on quorum queues of RabbitMQ, metrics on",
    unit="messages/s",
    sides=_sides,
    judge=_judge,
    server=RabbitServer,
)
