"""Promises of a queue: each message is held by one consumer, until it is settled or the hold is over."""

from __future__ import annotations

from datetime import timedelta

import pytest

from antiphon.brokers.ports import (
    DONE,
    RELEASE,
    Broker,
    DeadLettering,
    Delivery,
    Outcome,
    QueueSubscription,
    SeekTo,
    Settlement,
)
from antiphon.errors import UnsupportedCapabilityError
from antiphon.events.message import Outgoing
from antiphon.testing.conformance.suite import BrokerSuite, a_message, ids, requires

_AGAIN = Outcome("again")
_REJECT = Outcome("reject")


class HoldConformance(BrokerSuite):
    """Who fetched a message has it, for as long as was agreed."""

    async def test_what_is_held_goes_to_nobody_else_until_the_hold_is_over(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        holding, waiting = [await self.join_queue(broker, group, topic) for _ in range(2)]
        sent = await self.publish(broker, topic, 5)
        await self.receive(holding, 5)
        await self.assert_silent(waiting)
        await self.elapse(self.lease)
        repeated = await self.receive(waiting, 5)
        assert sorted(ids(repeated)) == sorted(ids(sent))
        assert all(delivery.attempt == 2 for delivery in repeated)

    async def test_a_waiting_fetch_gets_what_an_expired_hold_gives_back(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        stalled, waiting = [await self.join_queue(broker, group, topic) for _ in range(2)]
        sent = await self.publish(broker, topic, 3)
        await self.receive(stalled, 3)
        await self.evict(broker, stalled)
        assert sorted(ids(await self.receive(waiting, 3))) == sorted(ids(sent))

    async def test_an_extended_hold_lasts_another_period(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        holding, waiting = [await self.join_queue(broker, group, topic) for _ in range(2)]
        await self.publish(broker, topic, 2)
        extended, _ = await self.receive(holding, 2)
        await self.elapse(0.6 * self.lease)
        await holding.extend([extended])
        await self.elapse(0.6 * self.lease)
        (expired,) = await self.receive(waiting, 1)
        assert expired.message.id != extended.message.id
        await self.assert_silent(waiting)

    async def test_settling_after_the_hold_does_nothing(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        stalled, other = [await self.join_queue(broker, group, topic) for _ in range(2)]
        await self.publish(broker, topic, 3)
        late = await self.receive(stalled, 3)
        await self.evict(broker, stalled)
        repeated = await self.receive(other, 3)
        await stalled.extend(late)
        await stalled.settle([Settlement(delivery, DONE) for delivery in late])
        await other.settle([Settlement(delivery, _AGAIN) for delivery in repeated])
        assert sorted(ids(await self.receive(other, 3))) == sorted(ids(late))

    async def test_closing_gives_everything_back_uncounted(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        leaving, staying = [await self.join_queue(broker, group, topic) for _ in range(2)]
        await self.publish(broker, topic, 4)
        await self.receive(leaving, 4)
        await leaving.close()
        assert [delivery.attempt for delivery in await self.receive(staying, 4)] == [1] * 4

    async def test_what_is_not_settled_counts_as_lag(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        subscription = await self.join_queue(broker, group, topic)
        await self.publish(broker, topic, 10)
        await self.elapse(self.patience)
        deliveries = await self.receive(subscription, 6)
        lags = await broker.lag(group)
        assert sum(lag.messages for lag in lags) == 10
        assert max(lag.age for lag in lags) >= 0.9 * self.patience
        await self.finish(subscription, deliveries)
        assert sum(lag.messages for lag in await broker.lag(group)) == 4


class SettlingConformance(BrokerSuite):
    """What becomes of a delivery is said once and holds."""

    async def one_held(self, broker: Broker) -> tuple[QueueSubscription, Delivery]:
        topic = self.fresh("topic")
        subscription = await self.join_queue(broker, self.fresh("group"), topic)
        await self.publish(broker, topic, 1)
        (delivery,) = await self.receive(subscription, 1)
        return subscription, delivery

    async def settle_later(self, broker: Broker) -> None:
        subscription, delivery = await self.one_held(broker)
        await subscription.settle([Settlement(delivery, Outcome("again", delay=timedelta(seconds=1)))])

    async def settle_rejected(self, broker: Broker) -> None:
        subscription, delivery = await self.one_held(broker)
        await subscription.settle([Settlement(delivery, _REJECT)])

    async def seek(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        await self.join(broker, group, topic)
        await broker.seek(group, topic, SeekTo.START)

    async def test_done_is_final(self, broker: Broker) -> None:
        subscription, delivery = await self.one_held(broker)
        await subscription.settle([Settlement(delivery, DONE)])
        await subscription.settle([Settlement(delivery, _AGAIN)])
        await self.elapse(self.lease)
        await self.assert_silent(subscription)

    async def test_again_counts_as_an_attempt(self, broker: Broker) -> None:
        subscription, delivery = await self.one_held(broker)
        for attempt in (2, 3):
            await subscription.settle([Settlement(delivery, _AGAIN)])
            (delivery,) = await self.receive(subscription, 1)
            assert delivery.attempt == attempt

    async def test_a_release_does_not_count_as_an_attempt(self, broker: Broker) -> None:
        subscription, delivery = await self.one_held(broker)
        for _ in range(3):
            await subscription.settle([Settlement(delivery, RELEASE)])
            (delivery,) = await self.receive(subscription, 1)
            assert delivery.attempt == 1

    async def test_each_of_a_batch_is_settled_as_it_was_said(self, broker: Broker) -> None:
        topic = self.fresh("topic")
        subscription = await self.join_queue(broker, self.fresh("group"), topic)
        await self.publish(broker, topic, 3)
        first, second, third = await self.receive(subscription, 3)
        await subscription.settle([Settlement(first, DONE), Settlement(second, _AGAIN), Settlement(third, RELEASE)])
        attempts = {delivery.message.id: delivery.attempt for delivery in await self.receive(subscription, 2)}
        assert attempts == {second.message.id: 2, third.message.id: 1}

    @requires("native_delay", settle_later)
    async def test_a_delayed_message_comes_again_after_its_delay(self, broker: Broker) -> None:
        subscription, delivery = await self.one_held(broker)
        delay = 4 * self.patience
        await subscription.settle([Settlement(delivery, Outcome("again", delay=delay))])
        settled = self.now()
        await self.assert_silent(subscription)
        await self.elapse(delay)
        (again,) = await self.receive(subscription, 1)
        assert (again.message.id, again.attempt) == (delivery.message.id, 2)
        assert self.now() - settled >= delay

    @requires("native_dead_letters", settle_rejected)
    async def test_a_rejected_message_never_comes_again(self, broker: Broker) -> None:
        subscription, delivery = await self.one_held(broker)
        await subscription.settle([Settlement(delivery, _REJECT)])
        await self.elapse(self.lease)
        await self.assert_silent(subscription)

    @requires("native_dead_letters", settle_rejected)
    async def test_what_was_rejected_is_kept_whole_as_a_dead_letter_of_its_group(self, broker: Broker) -> None:
        subscription, group, topic = await self.one_of_a_group(broker)
        sent = await self.publish(broker, topic, 3)
        deliveries = await self.receive(subscription, 3)
        await subscription.settle([Settlement(delivery, _REJECT) for delivery in deliveries])
        kept = await _keeper(broker).read_dead_letters(group, 10)
        assert {each.message.id: each.message for each in kept} == {message.id: message for message in sent}
        assert {(each.partition, each.position) for each in kept} == {(d.partition, d.position) for d in deliveries}
        assert ids(await _keeper(broker).read_dead_letters(group, 10)) == ids(kept), "looking changes nothing"
        assert len(await _keeper(broker).read_dead_letters(group, 2)) == 2
        assert not await _keeper(broker).read_dead_letters(self.fresh("group"), 10)

    @requires("native_dead_letters", settle_rejected)
    async def test_what_is_written_as_a_dead_letter_is_kept_whole_and_reaches_no_reader(self, broker: Broker) -> None:
        subscription, group, topic = await self.one_of_a_group(broker)
        kept = [Outgoing(topic, a_message()) for _ in range(2)]
        await _keeper(broker).write_dead_letters(group, kept)
        await self.assert_silent(subscription)
        found = await _keeper(broker).read_dead_letters(group, 10)
        assert [(each.partition.topic, each.message) for each in found] == kept

    @requires("native_dead_letters", settle_rejected)
    async def test_a_dead_letter_that_was_taken_is_held_and_gone_once_it_is_settled(self, broker: Broker) -> None:
        group = await self.some_rejected(broker, 2)
        keeper = _keeper(broker)
        first, second = await keeper.take_dead_letters(group, 10)
        assert not await keeper.take_dead_letters(group, 10)
        await keeper.settle_dead_letters([Settlement(first, DONE), Settlement(second, _AGAIN)])
        assert ids(await keeper.read_dead_letters(group, 10)) == [second.message.id]
        (again,) = await keeper.take_dead_letters(group, 10)
        await keeper.settle_dead_letters([Settlement(first, DONE), Settlement(again, DONE)])
        assert not await keeper.read_dead_letters(group, 10)

    @requires("native_dead_letters", settle_rejected)
    async def test_a_dead_letter_that_nobody_settled_can_be_taken_again_and_only_then_settled(
        self, broker: Broker
    ) -> None:
        group = await self.some_rejected(broker, 1)
        keeper = _keeper(broker)
        (late,) = await keeper.take_dead_letters(group, 10)
        await self.elapse(self.lease)
        await keeper.settle_dead_letters([Settlement(late, DONE)])
        (taken,) = await keeper.take_dead_letters(group, 10)
        await keeper.settle_dead_letters([Settlement(late, DONE)])
        assert ids(await keeper.read_dead_letters(group, 10)) == [taken.message.id]
        await keeper.settle_dead_letters([Settlement(taken, DONE)])
        assert not await keeper.read_dead_letters(group, 10)

    @requires("native_dead_letters", settle_rejected)
    async def test_a_dead_letter_cannot_be_rejected_again(self, broker: Broker) -> None:
        group = await self.some_rejected(broker, 1)
        (taken,) = await _keeper(broker).take_dead_letters(group, 10)
        with pytest.raises(UnsupportedCapabilityError):
            await _keeper(broker).settle_dead_letters([Settlement(taken, _REJECT)])

    async def test_a_queue_that_keeps_no_dead_letters_says_so(self, broker: Broker) -> None:
        if isinstance(broker, DeadLettering) and not broker.capabilities.native_dead_letters:
            with pytest.raises(UnsupportedCapabilityError):
                await broker.read_dead_letters(self.fresh("group"), 10)

    async def one_of_a_group(self, broker: Broker) -> tuple[QueueSubscription, str, str]:
        group, topic = self.fresh("group"), self.fresh("topic")
        return await self.join_queue(broker, group, topic), group, topic

    async def some_rejected(self, broker: Broker, count: int) -> str:
        """The group that rejected so many messages."""
        subscription, group, topic = await self.one_of_a_group(broker)
        await self.publish(broker, topic, count)
        deliveries = await self.receive(subscription, count)
        await subscription.settle([Settlement(delivery, _REJECT) for delivery in deliveries])
        return group

    @requires("replay", seek)
    async def test_a_queue_that_claims_replay_reads_again(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        subscription = await self.join_queue(broker, group, topic)
        sent = await self.publish(broker, topic, 5)
        await self.finish(subscription, await self.receive(subscription, 5))
        await broker.seek(group, topic, SeekTo.START)
        assert sorted(ids(await self.receive(subscription, 5))) == sorted(ids(sent))

    async def test_a_queue_cannot_be_browsed_unless_it_claims_replay(self, broker: Broker) -> None:
        browse = getattr(broker, "browse", None)
        if browse is not None and not broker.capabilities.replay:
            with pytest.raises(UnsupportedCapabilityError):
                await browse(self.fresh("topic"), SeekTo.START, 10)


def _keeper(broker: Broker) -> DeadLettering:
    assert isinstance(broker, DeadLettering), "it claims native_dead_letters, so it lets them be looked after"
    return broker
