"""Promises about the broker's own transactions: what is published and the watermark move together, or not at all."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from antiphon.brokers.ports import Broker, Delivery, LogSubscription, TransactionalSubscription
from antiphon.errors import LeaseLostError, PublishError, UnsupportedCapabilityError
from antiphon.events.message import Outgoing
from antiphon.testing.conformance.suite import BrokerSuite, a_message, ids, requires, watermarks


class BrokerTransactionConformance(BrokerSuite):
    """A log with transactions lets what was made of messages leave with the watermark that passes these."""

    async def commit_with(
        self, subscription: LogSubscription, deliveries: Sequence[Delivery], outgoing: Sequence[Outgoing]
    ) -> None:
        if not isinstance(subscription, TransactionalSubscription):
            raise UnsupportedCapabilityError("the broker", "transactions", "nothing leaves with a watermark")
        await subscription.commit_with(watermarks(deliveries), outgoing)

    async def commit_with_nothing_read(self, broker: Broker) -> None:
        subscription = await self.join_log(broker, self.fresh("group"), self.fresh("topic"))
        await self.commit_with(subscription, (), [Outgoing(self.fresh("topic"), a_message())])

    @requires("transactions", commit_with_nothing_read)
    async def test_what_was_made_leaves_with_the_watermark(self, broker: Broker) -> None:
        topic, made_topic, group = self.fresh("topic"), self.fresh("made"), self.fresh("group")
        reader = await self.join(broker, self.fresh("readers"), made_topic)
        subscription = await self.join_log(broker, group, topic)
        await self.publish(broker, topic, 10)
        deliveries = await self.receive(subscription, 10)
        made = [a_message(each.message.key) for each in deliveries]
        await self.commit_with(subscription, deliveries, [Outgoing(made_topic, message) for message in made])
        assert sorted(ids(await self.receive(reader, 10))) == sorted(ids(made))
        await subscription.close()
        again = await self.join_log(broker, group, topic)
        await self.assert_silent(again)
        assert sum(lag.messages for lag in await broker.lag(group)) == 0

    @requires("transactions", commit_with_nothing_read)
    async def test_many_transactions_follow_one_another(self, broker: Broker) -> None:
        topic, made_topic, group = self.fresh("topic"), self.fresh("made"), self.fresh("group")
        reader = await self.join(broker, self.fresh("readers"), made_topic)
        subscription = await self.join_log(broker, group, topic)
        made: list[str] = []
        for _ in range(5):
            await self.publish(broker, topic, 4, keys=1)
            deliveries = await self.receive(subscription, 4)
            messages = [a_message("one") for _ in deliveries]
            await self.commit_with(subscription, deliveries, [Outgoing(made_topic, message) for message in messages])
            made += ids(messages)
        assert ids(await self.receive(reader, 20)) == made, "they come once, in order"
        assert sum(lag.messages for lag in await broker.lag(group)) == 0

    @requires("transactions", commit_with_nothing_read)
    async def test_a_refusal_moves_nothing_and_publishes_nothing(self, broker: Broker) -> None:
        limit = broker.capabilities.max_message_bytes
        if limit is None:
            return  # it takes everything
        topic, made_topic, group = self.fresh("topic"), self.fresh("made"), self.fresh("group")
        reader = await self.join(broker, self.fresh("readers"), made_topic)
        subscription = await self.join_log(broker, group, topic)
        await self.publish(broker, topic, 2)
        deliveries = await self.receive(subscription, 2)
        fits, large = a_message("a"), a_message("b", b"x" * (limit + 1))
        with pytest.raises(PublishError) as caught:
            await self.commit_with(subscription, deliveries, [Outgoing(made_topic, one) for one in (fits, large)])
        assert [refusal.message_id for refusal in caught.value.refusals] == [large.id]
        await self.assert_silent(reader)
        assert sum(lag.messages for lag in await broker.lag(group)) == 2
        await self.commit_with(subscription, deliveries, [Outgoing(made_topic, fits)])
        assert ids(await self.receive(reader, 1)) == [fits.id]
        await self.assert_silent(reader)

    @requires("transactions", commit_with_nothing_read)
    async def test_who_lost_its_partitions_publishes_nothing(self, broker: Broker) -> None:
        topic, made_topic, group = self.fresh("topic"), self.fresh("made"), self.fresh("group")
        reader = await self.join(broker, self.fresh("readers"), made_topic)
        stalled = await self.join_log(broker, group, topic)
        await self.publish(broker, topic, 4)
        deliveries = await self.receive(stalled, 4)
        await self.evict(broker, stalled)
        with pytest.raises(LeaseLostError):
            await self.commit_with(stalled, deliveries, [Outgoing(made_topic, a_message("a"))])
        await self.assert_silent(reader)
        await stalled.close()
        heir = await self.join_log(broker, group, topic)
        assert sorted(ids(await self.receive(heir, 4))) == sorted(ids(deliveries)), "they are repeated"
