"""A transaction whose end nobody heard is looked up before the next one, and nothing of it leaves twice or never."""

from __future__ import annotations

from concurrent.futures import Future
from datetime import UTC, datetime

import pytest

from antiphon.brokers.kafka import transacting
from antiphon.brokers.kafka.client import Committed, KafkaError, KafkaException
from antiphon.brokers.kafka.holdings import Holdings, Lane
from antiphon.brokers.kafka.places import Place
from antiphon.brokers.kafka.transacting import Transactions
from antiphon.brokers.ports import Partition
from antiphon.errors import ConnectionLostError
from antiphon.events.message import Message, Outgoing

WHERE = Partition("orders", 0)


class Cluster:
    """What producers wrote, and the end of whose transaction is heard."""

    def __init__(self) -> None:
        self.written: list[list[str]] = []
        self.is_deaf = True

    def producer(self, conf: object) -> Producer:
        return Producer(self)


class Producer:
    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.begun = cluster, list[str]()

    def init_transactions(self, wait: float) -> None: ...
    def begin_transaction(self) -> None:
        self.begun = []

    def produce(self, topic: str, value: object, key: object, **_: object) -> None:
        self.begun.append(topic)

    def flush(self, wait: float) -> int:
        return 0

    def send_offsets_to_transaction(self, offsets: object, metadata: object, wait: float) -> None: ...
    def commit_transaction(self, wait: float) -> None:
        if self.cluster.is_deaf:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "nobody answers"))
        self.cluster.written.append(self.begun)


class Commits:
    def ask_who(self) -> Future[object]:
        found: Future[object] = Future()
        found.set_result("me")
        return found


class Positions:
    def __init__(self, offset: int) -> None:
        self.offset = offset

    def read(self, group: str, partitions: object) -> dict[Partition, Committed]:
        return {WHERE: Committed(self.offset, "")}


@pytest.mark.parametrize(("stands_at", "leaves"), [(5, ["second"]), (0, ["first", "second"])])
async def test_what_was_committed_unheard_does_not_leave_again_and_what_was_not_does(monkeypatch, stands_at, leaves):
    cluster, holdings, lane = Cluster(), Holdings(lambda: None), Lane(WHERE, Place(0))
    holdings.gain([lane])
    monkeypatch.setattr(transacting, "make_producer", cluster.producer)
    transactions = Transactions({}, 1.0, holdings, Commits(), Positions(stands_at), "kafka://here")
    first, second = (
        Outgoing(word, Message(word, "Made", datetime.now(UTC), b"{}", source="here")) for word in ("first", "second")
    )
    with pytest.raises(ConnectionLostError, match="is not known"):
        await transactions.commit("group", [(lane, 5)], [first])
    assert lane.done == 0
    cluster.is_deaf = False
    await transactions.commit("group", [(lane, 7)], [first, second])
    assert (cluster.written, lane.done) == ([leaves], 7)
