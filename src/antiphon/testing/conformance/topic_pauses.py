"""Promises of every broker about topics that a subscription stops fetching from, and goes on with."""

from __future__ import annotations

import asyncio

from antiphon.brokers.ports import Broker, Delivery, Subscription
from antiphon.testing.conformance.suite import ROOM, BrokerSuite, by_key, ids, watermarks


class TopicPauseConformance(BrokerSuite):
    """A paused topic waits; membership and the other topics go on."""

    async def test_pausing_a_topic_holds_it_back_and_no_other(self, broker: Broker) -> None:
        topic, other, group = self.fresh("topic"), self.fresh("topic"), self.fresh("group")
        subscription = await self.join(broker, group, topic, other)
        await self.finish(subscription, await self._first(broker, subscription, topic, other))
        subscription.pause_topic(topic)
        subscription.pause_topic(topic)
        await self.publish(broker, topic, 20)
        sent = await self.publish(broker, other, 20)
        assert sorted(ids(await self.receive(subscription, 20))) == sorted(ids(sent))
        await self.assert_silent(subscription)
        assert sum(lag.messages for lag in await broker.lag(group) if lag.partition.topic == topic) == 20

    async def test_resuming_a_topic_goes_on_where_it_stopped(self, broker: Broker) -> None:
        topic = self.fresh("topic")
        subscription = await self.join(broker, self.fresh("group"), topic)
        sent = await self.publish(broker, topic, 10, keys=2)
        first = await self.receive(subscription, 4)
        subscription.pause_topic(topic)
        await self.assert_silent(subscription)
        sent += await self.publish(broker, topic, 6, keys=2)
        subscription.resume_topic(topic)
        subscription.resume_topic(topic)
        received = first + await self.receive(subscription, 12)
        assert sorted(ids(received)) == sorted(ids(sent))
        assert not broker.capabilities.key_order or by_key(received) == by_key(sent)
        await self.assert_silent(subscription)

    async def test_a_fetch_that_waits_is_woken_when_its_topic_goes_on(self, broker: Broker) -> None:
        topic = self.fresh("topic")
        subscription = await self.join(broker, self.fresh("group"), topic)
        await self.finish(subscription, await self._first(broker, subscription, topic))
        subscription.pause_topic(topic)
        sent = await self.publish(broker, topic, 1)
        waiting = asyncio.create_task(subscription.fetch(10, ROOM, 2 * self.timeout))
        await self.elapse(self.patience)
        assert not waiting.done()
        subscription.resume_topic(topic)
        async with self.in_time():
            assert ids(await waiting) == ids(sent)

    async def test_what_is_held_of_a_paused_topic_can_be_settled(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        subscription = await self.join(broker, group, topic)
        await self.publish(broker, topic, 10)
        deliveries = await self.receive(subscription, 10)
        subscription.pause_topic(topic)
        await self.finish(subscription, deliveries)
        assert sum(lag.messages for lag in await broker.lag(group)) == 0
        subscription.resume_topic(topic)
        await self.assert_silent(subscription)

    async def _first(self, broker: Broker, subscription: Subscription, *topics: str) -> list[Delivery]:
        """One message of each topic, so that it is certain that it reads them all."""
        for topic in topics:
            await self.publish(broker, topic, 1)
        return await self.receive(subscription, len(topics))


class LogTopicPauseConformance(BrokerSuite):
    """What a paused topic is to a log, beside what it is to every broker."""

    async def test_a_paused_topic_keeps_its_partitions(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        first = await self.join_log(broker, group, topic)
        await self.until_shared([first], partitions=8)
        first.pause_topic(topic)
        second = await self.join_log(broker, group, topic)
        await self.until_shared([first, second], partitions=8)
        await self.publish(broker, topic, 40)
        await self.elapse(self.patience)
        await self.assert_silent(first)
        assert len(self.owned[id(first)]) == 4

    async def test_partitions_that_come_later_are_paused_with_their_topic(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        staying, leaving = [await self.join_log(broker, group, topic) for _ in range(2)]
        await self.until_shared([staying, leaving], partitions=8)
        staying.pause_topic(topic)
        await leaving.close()
        await self.until_shared([staying], partitions=8)
        sent = await self.publish(broker, topic, 40)
        await self.assert_silent(staying)
        staying.resume_topic(topic)
        assert sorted(ids(await self.receive(staying, 40))) == sorted(ids(sent))

    async def test_a_partition_that_is_paused_by_itself_stays_so_when_its_topic_goes_on(self, broker: Broker) -> None:
        topic = self.fresh("topic")
        subscription = await self.join_log(broker, self.fresh("group"), topic)
        await self.publish(broker, topic, 40)
        deliveries = await self.receive(subscription, 40)
        await subscription.commit(watermarks(deliveries))
        paused = deliveries[0].partition
        subscription.pause([paused])
        subscription.pause_topic(topic)
        subscription.resume_topic(topic)
        sent = await self.publish(broker, topic, 40)
        here = [delivery for delivery in deliveries if delivery.partition == paused]
        others = await self.receive(subscription, 40 - len(here))
        assert paused not in {delivery.partition for delivery in others}
        await self.assert_silent(subscription)
        subscription.resume([paused])
        assert sorted(ids(others + await self.receive(subscription, len(here)))) == sorted(ids(sent))
