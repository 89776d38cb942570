"""A transaction whose end nobody heard is looked up before the next one, and nothing of it leaves twice or never."""

from __future__ import annotations

from concurrent.futures import Future
from datetime import UTC, datetime

import pytest

from antiphon.brokers.kafka import transacting
from antiphon.brokers.kafka.client import Committed, KafkaError, KafkaException
from antiphon.brokers.kafka.holdings import Holdings, Lane
from antiphon.brokers.kafka.places import Place
from antiphon.brokers.kafka.transacting import Note, Transactions
from antiphon.brokers.ports import Partition
from antiphon.errors import ConnectionLostError, PublishError
from antiphon.events.message import Message, Outgoing

WHERE = Partition("orders", 0)
DENIED = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "not yours", False, False, True)


class Cluster:
    """What producers wrote, and the end of whose transaction is heard."""

    def __init__(self) -> None:
        self.written: list[list[str]] = []
        self.is_deaf = True
        self.forbidden: frozenset[str] = frozenset()

    def producer(self, conf: object) -> Producer:
        return Producer(self)


class Producer:
    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.begun, self.refused = cluster, list[str](), list[str]()

    def init_transactions(self, wait: float) -> None: ...
    def begin_transaction(self) -> None:
        self.begun, self.refused = [], []

    def abort_transaction(self, wait: float) -> None:
        self.begun, self.refused = [], []

    def produce(self, topic: str, value: object, key: object, *, on_delivery: Note | None, **_: object) -> None:
        if topic == "unwritable":
            raise ValueError("it holds a zero")
        self.begun.append(topic)
        if topic in self.cluster.forbidden:
            self.refused.append(topic)
            if on_delivery is not None:
                on_delivery(DENIED, None)

    def flush(self, wait: float) -> int:
        return 0

    def send_offsets_to_transaction(self, offsets: object, metadata: object, wait: float) -> None: ...
    def commit_transaction(self, wait: float) -> None:
        if self.refused:
            raise KafkaException(DENIED)
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


def held(positions: Positions) -> tuple[Transactions, Lane]:
    holdings, lane = Holdings(lambda: None), Lane(WHERE, Place(0))
    holdings.gain([lane])
    return Transactions({}, 1.0, holdings, Commits(), positions, "kafka://here", {}), lane


def made(topic: str) -> Outgoing:
    return Outgoing(topic, Message(topic, "Made", datetime.now(UTC), b"{}", source="here"))


@pytest.mark.parametrize("refused", ["forbidden", "unwritable"])
async def test_what_was_refused_is_named_though_nothing_is_asked_of_each_message_before(monkeypatch, refused):
    cluster = Cluster()
    cluster.is_deaf, cluster.forbidden = False, frozenset({"forbidden"})
    monkeypatch.setattr(transacting, "make_producer", cluster.producer)
    transactions, lane = held(Positions(0))
    with pytest.raises(PublishError) as caught:
        await transactions.commit("group", [(lane, 5)], [made("fits"), made(refused), made("also")])
    assert [refusal.message_id for refusal in caught.value.refusals] == [refused]
    assert (cluster.written, lane.done) == ([], 0)
    await transactions.commit("group", [(lane, 5)], [made("fits")])
    assert (cluster.written, lane.done) == ([["fits"]], 5)


@pytest.mark.parametrize(("stands_at", "leaves"), [(5, ["second"]), (0, ["first", "second"])])
async def test_what_was_committed_unheard_does_not_leave_again_and_what_was_not_does(monkeypatch, stands_at, leaves):
    cluster = Cluster()
    monkeypatch.setattr(transacting, "make_producer", cluster.producer)
    transactions, lane = held(Positions(stands_at))
    first, second = made("first"), made("second")
    with pytest.raises(ConnectionLostError, match="is not known"):
        await transactions.commit("group", [(lane, 5)], [first])
    assert lane.done == 0
    cluster.is_deaf = False
    await transactions.commit("group", [(lane, 7)], [first, second])
    assert (cluster.written, lane.done) == ([leaves], 7)
