"""Promises of a queue: each message is held by one consumer, until it is settled or the hold is over."""

from __future__ import annotations

from datetime import timedelta

import pytest

from antiphon.brokers.ports import (
    DONE,
    RELEASE,
    Broker,
    Delivery,
    Outcome,
    QueueSubscription,
    SeekTo,
    Settlement,
)
from antiphon.errors import UnsupportedCapabilityError
from antiphon.testing.conformance.suite import BrokerSuite, ids, requires

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
