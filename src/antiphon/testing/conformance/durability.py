"""Promises about the end of the process: what was confirmed is there afterwards."""

from __future__ import annotations

from antiphon.brokers.ports import Broker, TopicSpec
from antiphon.testing.conformance.suite import BrokerSuite, by_key, ids, requires


class DurabilityConformance(BrokerSuite):
    """A durable broker opens with everything that it confirmed; another one says that it does not."""

    async def open_again(self, broker: Broker) -> None:
        await self.reopen(broker)

    @requires("durable", open_again)
    async def test_a_restart_keeps_every_message(self, broker: Broker) -> None:
        topic = self.fresh("topic")
        sent = await self.publish(broker, topic, 100, keys=11)
        again = await self.reopen(broker)
        subscription = await self.join(again, self.fresh("group"), topic)
        assert by_key(await self.receive(subscription, 100)) == by_key(sent)

    @requires("durable", open_again)
    async def test_a_restart_keeps_what_was_settled(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        subscription = await self.join(broker, group, topic)
        await self.publish(broker, topic, 20, keys=1)
        deliveries = await self.receive(subscription, 20)
        await self.finish(subscription, deliveries[:12])
        again = await self.reopen(broker)
        rejoined = await self.join(again, group, topic)
        assert ids(await self.receive(rejoined, 8)) == ids(deliveries[12:])
        await self.assert_silent(rejoined)

    @requires("durable", open_again)
    async def test_a_restart_keeps_topics_and_groups(self, broker: Broker) -> None:
        spec = TopicSpec(self.fresh("topic"), partitions=3)
        group = self.fresh("group")
        await broker.ensure_topic(spec)
        await self.join(broker, group, spec.name)
        again = await self.reopen(broker)
        assert [state.partitions for state in await again.topics() if state.name == spec.name] == [3]
        assert group in await again.groups()
