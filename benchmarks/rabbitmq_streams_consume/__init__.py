"""How much the runtime and the adapter add to reading streams of RabbitMQ at least once, by a group."""

from __future__ import annotations

from collections.abc import Mapping

from antiphon.testing.servers import RabbitServer
from benchmarks.measure import Benchmark, Check, Command, Runs, at_least, module

COUNT = 50_000


class StreamsServer(RabbitServer):
    """Its topics are streams."""

    @property
    def url(self) -> str:
        return super().url.replace("rabbitmq:", "rabbitmq-streams:", 1)


def _sides() -> Mapping[str, Command]:
    return {
        "ours": module("reading", str(COUNT)),
        "twin": module("rabbitmq_streams_consume.twin", str(COUNT)),
    }


def _judge(runs: Runs) -> list[Check]:
    return [at_least("ours / twin", runs.ratio("twin"), 0.6)]


BENCHMARK = Benchmark(
    name="rabbitmq-streams-consume",
    question="typed no-op handler, at least once, on streams of RabbitMQ, metrics on",
    unit="messages/s",
    sides=_sides,
    judge=_judge,
    server=StreamsServer,
    prepare=module("filling", str(COUNT)),
)
