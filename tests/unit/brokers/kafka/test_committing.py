"""The thread that polls sends commits and waits for none of them; whoever asked hears what it came to, or is asked for
again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from antiphon.brokers.kafka import committing
from antiphon.brokers.kafka.client import KafkaError, KafkaException, TopicPartition
from antiphon.brokers.kafka.committing import Commits
from antiphon.brokers.kafka.holdings import Holdings, Lane
from antiphon.brokers.kafka.places import Place
from antiphon.brokers.ports import NoticeKind, Partition
from antiphon.errors import BrokerError, ClosedError

WHERE = Partition("orders", 0)
MOVING = KafkaError(KafkaError.REBALANCE_IN_PROGRESS)
STRANGER = KafkaError(KafkaError.UNKNOWN_MEMBER_ID)
REFUSED = KafkaError(KafkaError.OFFSET_METADATA_TOO_LARGE)


class Consumer:
    """Takes commits; `tell` is the poll in which their answers are heard."""

    def __init__(self) -> None:
        self.taken: list[list[TopicPartition]] = []
        self.waited_for: list[list[TopicPartition]] = []
        self.fault: KafkaError | None = None

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> Sequence[TopicPartition]:
        if self.fault is not None:
            raise KafkaException(self.fault)
        (self.taken if asynchronous else self.waited_for).append(offsets)
        return offsets

    def poll(self, wait: float) -> None:
        raise KafkaException(KafkaError(KafkaError._STATE))

    def tell(self, commits: Commits, number: int = -1, error: KafkaError | None = None) -> None:
        commits.hear(error, self.taken[number])

    @property
    def offsets(self) -> list[int]:
        return [offset for [each] in self.taken for offset in [each.offset]]


class Member:
    """One lane, of which 10 are handed out, and the commits of who holds it."""

    def __init__(self) -> None:
        self.holdings, self.lane = Holdings(lambda: None), Lane(WHERE, Place(0))
        self.lane.next = 10
        self.holdings.gain([self.lane])
        self.noted: list[int] = []
        self.commits = Commits(self.holdings, "payments", "kafka://here", lambda lane: self.noted.append(lane.done))
        self.consumer = Consumer()

    def ask(self, offset: int) -> asyncio.Future[None]:
        return self.commits.ask([(self.lane, offset)]).done

    def serve(self) -> None:
        self.commits.serve(self.consumer)

    async def give_up(self, offset: int, *, for_: int) -> None:
        """Send a commit, wait for it no longer, and send another one, whose answer is heard."""
        self.ask(offset)
        self.serve()
        second = self.ask(for_)
        self.serve()
        self.consumer.tell(self.commits, 1)
        await second


@pytest.fixture
async def member() -> Member:
    return Member()


async def test_nothing_counts_as_committed_before_the_answer_is_heard(member: Member) -> None:
    done = member.ask(5)
    member.serve()
    await asyncio.sleep(0)
    assert member.commits.is_sent
    assert not done.done()
    assert (member.lane.done, member.noted) == (0, [])
    member.consumer.tell(member.commits)
    await done
    assert (member.lane.done, member.noted) == (5, [5])
    assert not member.commits.is_sent


async def test_what_is_asked_for_meanwhile_goes_together_after_the_answer(member: Member) -> None:
    first = member.ask(3)
    member.serve()
    others = [member.ask(5), member.ask(4)]
    member.serve()
    assert member.consumer.offsets == [3]
    member.consumer.tell(member.commits)
    member.serve()
    assert member.consumer.offsets == [3, 5]
    member.consumer.tell(member.commits)
    await asyncio.gather(first, *others)
    assert member.lane.done == 5


async def test_one_whose_answer_is_lost_is_sent_again_and_a_late_answer_changes_nothing(
    member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committing, "_LONGEST_ANSWER", -1.0)
    first, given_up = member.ask(3), member.ask(2)
    member.serve()
    given_up.cancel()
    second = member.ask(5)
    member.serve()
    assert member.consumer.offsets == [3, 5]
    member.consumer.tell(member.commits, 0)
    assert (member.lane.done, member.commits.is_sent) == (0, True)
    member.consumer.tell(member.commits, 1)
    await asyncio.gather(first, second)
    assert member.lane.done == 5


async def test_nothing_is_committed_from_before_where_the_group_stands_since(member: Member) -> None:
    member.commits.wish([member.lane])
    done = member.ask(3)
    member.lane.done = 7  # by a transaction, which does not come by here
    member.serve()
    assert member.consumer.offsets == [7]
    member.consumer.tell(member.commits)
    await done
    assert member.lane.done == 7


async def test_where_one_that_was_given_up_comes_last_the_place_is_committed_again(
    member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committing, "_LONGEST_ANSWER", -1.0)
    await member.give_up(3, for_=5)
    # The driver had that one wait for its connection, and sent it when the later one was done already.
    member.consumer.tell(member.commits, 0)
    member.serve()
    assert member.consumer.offsets == [3, 5, 5]
    member.consumer.tell(member.commits)
    member.serve()
    assert len(member.consumer.taken) == 3


async def test_one_that_failed_late_changes_nothing(member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committing, "_LONGEST_ANSWER", -1.0)
    await member.give_up(3, for_=5)
    member.consumer.tell(member.commits, 0, MOVING)
    member.serve()
    assert member.consumer.offsets == [3, 5]


async def test_it_is_asked_for_again_where_the_group_is_just_sharing_out(member: Member) -> None:
    done = member.ask(5)
    member.serve()
    member.consumer.tell(member.commits, error=MOVING)
    assert member.commits.is_waiting
    member.serve()
    member.consumer.tell(member.commits)
    await done
    assert member.consumer.offsets == [5, 5]


async def test_a_refusal_reaches_who_asked(member: Member) -> None:
    done = member.ask(5)
    member.serve()
    member.consumer.tell(member.commits, error=REFUSED)
    with pytest.raises(BrokerError, match="commit for group 'payments'"):
        await done
    assert member.lane.done == 0


async def test_what_the_driver_takes_no_more_reaches_who_asked_at_once(member: Member) -> None:
    member.consumer.fault, done = REFUSED, member.ask(5)
    member.serve()
    with pytest.raises(BrokerError):
        await done
    assert not member.commits.is_sent


async def test_who_is_no_member_any_more_holds_nothing(member: Member) -> None:
    done = member.ask(5)
    member.serve()
    member.consumer.tell(member.commits, error=STRANGER)
    await done
    assert member.holdings.partitions() == ()
    assert [notice.kind for notice in member.holdings.take_notices()] == [NoticeKind.ASSIGNED, NoticeKind.LOST]


async def test_in_a_callback_of_the_driver_it_is_waited_for_what_was_sent_before_included(member: Member) -> None:
    done = member.ask(5)
    member.serve()
    member.commits.serve_now(member.consumer)
    await done
    assert [each.offset for [each] in member.consumer.waited_for] == [5]
    assert (member.lane.done, member.commits.is_sent) == (5, False)


async def test_what_was_lost_meanwhile_is_not_committed(member: Member) -> None:
    member.holdings.drop(NoticeKind.LOST, [WHERE])
    done = member.ask(5)
    member.serve()
    await done
    assert member.consumer.taken == []


async def test_whoever_waits_at_the_end_is_told(member: Member) -> None:
    sent, waiting = member.ask(3), member.ask(5)
    member.serve()
    member.commits.end(member.consumer)
    for done in (sent, waiting):
        with pytest.raises(ClosedError):
            await done
    with pytest.raises(ClosedError):
        member.ask(6)


async def test_a_place_is_committed_though_nobody_waits_and_is_followed_then(member: Member) -> None:
    member.lane.is_followed = False
    member.commits.wish([member.lane])
    member.serve()
    assert not member.lane.is_followed
    member.consumer.tell(member.commits)
    assert member.lane.is_followed
