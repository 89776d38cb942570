"""The suite can fail: every saboteur turns it red, by the promise that it breaks, and the honest broker does not."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.brokers.memory import MemoryBroker, MemoryLogSubscription, MemoryQueueSubscription
from antiphon.brokers.ports import Broker, Subscription
from antiphon.testing import sabotage
from antiphon.testing.clock import VirtualClock
from antiphon.testing.conformance import BrokerConformance, LogConformance, QueueConformance
from antiphon.testing.conformance.verdicts import broken_promises, promises
from antiphon.testing.sabotage import SABOTEURS, SabotagedLog, SabotagedQueue, Saboteur
from tests.integration.embedded.silence import silence

LIMIT = 2 << 20
ALIKE_ON_A_QUEUE = {
    sabotage.Reordering,
    sabotage.ForgettingLeases,
    sabotage.FencingOnlyMoves,
    sabotage.IgnoringPause,
    sabotage.ConcealingLosses,
    sabotage.PublishingApart,
}
"""Their promises are a log's alone, or a queue keeps them some other way."""
ALIKE_ON_A_LOG = {sabotage.LosingDeadLetters}
"""A log rejects nothing."""
TELLING = {
    sabotage.Dropping: "test_each_message_arrives_once",
    sabotage.Duplicating: "test_each_message_arrives_once",
    sabotage.Reordering: "test_keys_keep_their_order_across_batches",
    sabotage.ForgettingLeases: "test_members_of_a_group_share_its_messages",
    sabotage.ForgettingFences: "test_who_lost_its_hold_cannot_settle_in_a_transaction",
    sabotage.FencingOnlyMoves: "test_who_lost_its_hold_cannot_settle_a_part_in_a_transaction",
    sabotage.ConfirmingEarly: "test_what_publish_confirmed_counts_at_once",
    sabotage.SwallowingRefusals: "test_refusals_name_each_message_and_hold_back_what_follows_of_its_key",
    sabotage.IgnoringSettlement: "test_what_was_settled_never_comes_again",
    sabotage.SettlingEarly: "test_what_a_member_did_not_settle_goes_to_another",
    sabotage.LosingDeadLetters: "test_what_was_rejected_is_kept_whole_as_a_dead_letter_of_its_group",
    sabotage.LosingExtensions: "test_extensions_that_nobody_knows_survive",
    sabotage.LosingWhatIsCanceled: "test_a_canceled_fetch_loses_nothing",
    sabotage.IgnoringPause: "test_pausing_holds_back_one_partition_and_keeps_it",
    sabotage.IgnoringTopicPause: "test_pausing_a_topic_holds_it_back_and_no_other",
    sabotage.ConcealingLosses: "test_who_lost_a_partition_can_no_longer_settle_in_it",
    sabotage.LeakingTransactions: "test_what_is_published_in_a_transaction_goes_with_its_rollback",
    sabotage.PublishingApart: "test_who_lost_its_partitions_publishes_nothing",
    sabotage.LosingReplies: "test_a_reply_arrives_whole_in_the_box_of_its_address",
    sabotage.MixingUpReplies: "test_boxes_of_one_name_get_each_their_own_replies",
}


class Judge(BrokerConformance):
    clock: VirtualClock

    def now(self) -> datetime:
        return self.clock.now()

    async def elapse(self, duration: timedelta) -> None:
        await self.clock.advance(duration)

    async def evict(self, broker: Broker, subscription: Subscription) -> None:
        inner = subscription.inner if isinstance(subscription, SabotagedLog | SabotagedQueue) else subscription
        assert isinstance(inner, MemoryLogSubscription | MemoryQueueSubscription)
        inner.evict()


class LogJudge(Judge, LogConformance):
    pass


class QueueJudge(Judge, QueueConformance):
    pass


class HastyLogJudge(LogJudge):
    timeout = timedelta(milliseconds=50)


class HastyQueueJudge(QueueJudge):
    timeout = timedelta(milliseconds=50)


class FileJudge(LogConformance):
    files: list[EmbeddedBroker]

    async def reopen(self, broker: Broker) -> Broker:
        await broker.close()
        self.files.append(EmbeddedBroker(self.files[0].database.path))
        await self.files[-1].open()
        return self.files[-1]

    async def evict(self, broker: Broker, subscription: Subscription) -> None:
        assert isinstance(subscription, SabotagedLog)
        await silence(self.files[-1], subscription.inner)


class HastyFileJudge(FileJudge):
    timeout = timedelta(milliseconds=500)


@asynccontextmanager
async def opened_in_a_file(judge: FileJudge, spoil: Callable[[Broker], Broker], folder: Path) -> AsyncIterator[Broker]:
    judge.files = [EmbeddedBroker(folder / "log.db", max_message_bytes=LIMIT)]
    broker = spoil(judge.files[0])
    await broker.open()
    try:
        yield broker
    finally:
        for each in judge.files:
            await each.close()


@asynccontextmanager
async def opened(judge: LogJudge | QueueJudge, spoil: Callable[[Broker], Broker]) -> AsyncIterator[Broker]:
    judge.clock = VirtualClock()
    model = "log" if isinstance(judge, LogJudge) else "queue"
    memory = MemoryBroker(model, clock=judge.clock, max_message_bytes=LIMIT)
    broker = spoil(memory)
    await broker.open()
    try:
        yield broker
    finally:
        await broker.close()
        await memory.database.close()


@pytest.mark.parametrize("judge", [LogJudge, QueueJudge])
@pytest.mark.parametrize("spoil", [lambda broker: broker, Saboteur], ids=["bare", "wrapped"])
async def test_an_honest_broker_breaks_no_promise(judge: type[Judge], spoil: Callable[[Broker], Broker]) -> None:
    assert await broken_promises(judge, partial(opened, spoil=spoil)) == {}


@pytest.mark.parametrize("saboteur", [each for each in SABOTEURS if each not in ALIKE_ON_A_LOG])
async def test_a_sabotaged_log_turns_the_suite_red(saboteur: type[Saboteur]) -> None:
    telling = TELLING[saboteur]
    assert telling in await broken_promises(HastyLogJudge, partial(opened, spoil=saboteur), only=[telling])


@pytest.mark.parametrize("saboteur", [each for each in SABOTEURS if each not in ALIKE_ON_A_QUEUE])
async def test_a_sabotaged_queue_turns_the_suite_red(saboteur: type[Saboteur]) -> None:
    telling = TELLING[saboteur]
    assert telling in await broken_promises(HastyQueueJudge, partial(opened, spoil=saboteur), only=[telling])


@pytest.mark.parametrize(
    "saboteur", [each for each in SABOTEURS if each not in {*ALIKE_ON_A_LOG, sabotage.LeakingTransactions}]
)
async def test_a_sabotaged_file_turns_the_suite_red(saboteur: type[Saboteur], tmp_path: Path) -> None:
    """A leak would wait for its own transaction here: a file has one writer at a time."""
    telling = TELLING[saboteur]
    in_a_file = partial(opened_in_a_file, spoil=saboteur, folder=tmp_path)
    assert telling in await broken_promises(HastyFileJudge, in_a_file, only=[telling])


async def test_what_is_confirmed_before_it_is_written_is_missing_after_a_restart(tmp_path: Path) -> None:
    telling = "test_a_restart_keeps_every_message"
    honest = partial(opened_in_a_file, spoil=Saboteur, folder=tmp_path / "honest")
    early = partial(opened_in_a_file, spoil=sabotage.ConfirmingEarly, folder=tmp_path / "early")
    assert await broken_promises(FileJudge, honest, only=[telling]) == {}
    assert telling in await broken_promises(HastyFileJudge, early, only=[telling])


def test_the_suite_has_a_name_for_every_promise() -> None:
    assert len(promises(LogConformance)) > len(promises(BrokerConformance)) >= 25
    assert set(TELLING) == set(SABOTEURS)
