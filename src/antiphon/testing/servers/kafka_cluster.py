"""How does a test get a Kafka of several nodes, of which it may lose one at a time?"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from antiphon.testing.servers.base import PATIENCE
from antiphon.testing.servers.kafka import KafkaServer
from antiphon.testing.servers.process import ServerError

_SOON = {
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "controller.quorum.fetch.timeout.ms": "1500",
    "controller.quorum.election.timeout.ms": "500",
}
"""A node that was killed is missed after some three seconds, and not after nine."""
_PAUSE = 0.05


class KafkaNode(KafkaServer):
    """One of a cluster's nodes, broker and controller in one. Made by `KafkaCluster`."""

    def __init__(self, number: int, *, memory: str) -> None:
        super().__init__(memory=memory)
        self.number = number
        self._cluster = ""
        self.has_served = False
        """Whether its cluster was complete since it was started."""

    @property
    def voter(self) -> str:
        """As the other controllers know it."""
        return f"{self.number}@127.0.0.1:{self._controller}"

    def join(self, cluster: str, settings: Mapping[str, str]) -> None:
        """Before the first start: which cluster it belongs to."""
        self._cluster, self._settings = cluster, {"node.id": str(self.number), **settings}

    def _identity(self) -> list[str]:
        return ["-t", self._cluster]

    def _may_go_on(self) -> bool:
        """At first none answers before most are there; later each does by itself."""
        return not self.has_served or self.is_ready()

    def last_words(self) -> str:
        """The end of its log, on one line."""
        return self._process.last_words()

    def _all_settings(self) -> dict[str, str]:
        settings = super()._all_settings()
        del settings["controller.quorum.bootstrap.servers"]  # the voters are named one by one
        return settings


class KafkaCluster:
    """Several Kafka nodes: topics have three copies, and a write counts once two of them have it.

    Each of `nodes` is a server of its own that may be paused, killed and started again. Of fewer than three each has
    a copy of everything. `memory` is what the Java machine of each may take.
    """

    def __init__(self, nodes: int = 3, *, settings: Mapping[str, str] | None = None, memory: str = "384m") -> None:
        self.nodes: Sequence[KafkaNode] = [KafkaNode(number, memory=memory) for number in range(1, nodes + 1)]
        self._settings = settings or {}
        self._is_new = True

    @property
    def addresses(self) -> str:
        """Of all nodes, separated by commas, as Kafka's own tools and clients take them."""
        return ",".join(node.address for node in self.nodes)

    @property
    def url(self) -> str:
        """What a broker connects with, whichever node is missing."""
        first, *others = (node.address for node in self.nodes)
        return f"kafka://{first}?servers={','.join(others)}" if others else f"kafka://{first}"

    def start(self) -> None:
        """Start all nodes, with new data at the first time, and return when each answers.

        Raises ServerMissingError where there is nothing to start, and ServerError.
        """
        if self._is_new:
            cluster = self.nodes[0].run("kafka.tools.StorageTool", "random-uuid").strip()
            for node in self.nodes:
                node.join(cluster, self._shared())
            self._is_new = False
        for node in self.nodes:
            node.has_served = False
            node.start()
        deadline = time.monotonic() + PATIENCE.total_seconds()
        while waiting := [node for node in self.nodes if not node.is_ready()]:
            if time.monotonic() > deadline:
                raise ServerError(f"Kafka was not ready within {PATIENCE}: {waiting[0].last_words()}")
            time.sleep(_PAUSE)
        for node in self.nodes:
            node.has_served = True

    def close(self) -> None:
        """Stop all nodes, and remove their data. Twice is safe."""
        with ExitStack() as stack:
            for node in self.nodes:
                stack.callback(node.close)

    def _shared(self) -> dict[str, str]:
        copies = min(3, len(self.nodes))
        enough = str(max(1, copies - 1))
        copied = {
            "default.replication.factor": str(copies),
            "min.insync.replicas": enough,
            "offsets.topic.replication.factor": str(copies),
            "transaction.state.log.replication.factor": str(copies),
            "transaction.state.log.min.isr": enough,
            "share.coordinator.state.topic.replication.factor": str(copies),
            "share.coordinator.state.topic.min.isr": enough,
        }
        voters = ",".join(node.voter for node in self.nodes)
        return {**_SOON, **copied, "controller.quorum.voters": voters, **self._settings}

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
