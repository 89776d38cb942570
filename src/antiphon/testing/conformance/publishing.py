"""Promises about publishing: what is confirmed is held, in order, and what is refused is named."""

from __future__ import annotations

import gc
import tracemalloc

import pytest
from msgspec import structs

from antiphon.brokers.ports import Broker, TopicSpec
from antiphon.errors import ClosedError, PublishError, UnsupportedCapabilityError
from antiphon.events.message import Outgoing
from antiphon.testing.conformance.suite import BrokerSuite, a_message, ids

KAFKA_HASHES = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}
"""Keys and their murmur2 hashes, from the tests of Kafka's own client."""
_DESTINATIONS = 1_000
_BYTES_PER_MESSAGE = 1_500


class PublishingConformance(BrokerSuite):
    """A publish that returned is held; one that raised says exactly what is not."""

    async def test_what_publish_confirmed_counts_at_once(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        await self.join(broker, group, topic)
        await self.publish(broker, topic, 100)
        assert sum(lag.messages for lag in await broker.lag(group)) == 100
        assert [state.messages for state in await broker.topics() if state.name == topic] == [100]

    async def test_each_message_arrives_once(self, broker: Broker) -> None:
        topic = self.fresh("topic")
        subscription = await self.join(broker, self.fresh("group"), topic)
        sent = [message for _ in range(4) for message in await self.publish(broker, topic, 50, keys=13)]
        assert sorted(ids(await self.receive(subscription, len(sent)))) == sorted(ids(sent))
        await self.assert_silent(subscription)

    async def test_messages_without_a_key_all_arrive(self, broker: Broker) -> None:
        topic = self.fresh("topic")
        subscription = await self.join(broker, self.fresh("group"), topic)
        sent = [a_message() for _ in range(40)]
        await broker.publish([Outgoing(topic, message) for message in sent])
        assert sorted(ids(await self.receive(subscription, 40))) == sorted(ids(sent))

    async def test_a_key_lives_where_kafka_would_place_it(self, broker: Broker) -> None:
        topic, other = self.fresh("topic"), self.fresh("topic")
        await broker.ensure_topic(TopicSpec(topic, partitions=8))
        await broker.ensure_topic(TopicSpec(other, partitions=3))
        subscription = await self.join(broker, self.fresh("group"), topic, other)
        await broker.publish([Outgoing(name, a_message(key)) for name in (topic, other) for key in KAFKA_HASHES])
        for delivery in await self.receive(subscription, 2 * len(KAFKA_HASHES)):
            partitions = 8 if delivery.partition.topic == topic else 3
            key = delivery.message.key or ""
            assert delivery.partition.number == (KAFKA_HASHES[key] & 0x7FFFFFFF) % partitions, key

    async def test_refusals_name_each_message_and_hold_back_what_follows_of_its_key(self, broker: Broker) -> None:
        limit = broker.capabilities.max_message_bytes
        topic = self.fresh("topic")
        subscription = await self.join(broker, self.fresh("group"), topic)
        too_large = a_message("a", b"x" * ((limit or 1 << 21) + 1))
        first, after, other = a_message("a"), a_message("a"), a_message("b")
        outgoing = [Outgoing(topic, message) for message in (first, too_large, after, other)]
        if limit is None:
            await broker.publish(outgoing)
            assert len(await self.receive(subscription, 4)) == 4
            return
        with pytest.raises(PublishError) as raised:
            await broker.publish(outgoing)
        assert [refusal.message_id for refusal in raised.value.refusals] == ids([too_large, after])
        assert all(refusal.topic == topic and refusal.reason for refusal in raised.value.refusals)
        assert sorted(ids(await self.receive(subscription, 2))) == sorted(ids([first, other]))
        await self.assert_silent(subscription)

    async def test_publishing_nothing_does_nothing(self, broker: Broker) -> None:
        await broker.publish([])

    async def test_a_closed_broker_refuses_to_be_used(self, broker: Broker) -> None:
        await broker.close()
        await broker.close()
        with pytest.raises(ClosedError):
            await self.publish(broker, self.fresh("topic"), 1)
        with pytest.raises(ClosedError):
            await self.join(broker, self.fresh("group"), self.fresh("topic"))

    async def test_opening_twice_is_safe(self, broker: Broker) -> None:
        await self.publish(broker, topic := self.fresh("topic"), 3)
        await broker.open()
        subscription = await self.join(broker, self.fresh("group"), topic)
        assert len(await self.receive(subscription, 3)) == 3

    async def test_an_unknown_topic_is_made_with_the_defaults(self, broker: Broker) -> None:
        published, subscribed = self.fresh("topic"), self.fresh("topic")
        await self.publish(broker, published, 1)
        await self.join(broker, self.fresh("group"), subscribed)
        partitions = {state.name: state.partitions for state in await broker.topics()}
        assert partitions[published] == partitions[subscribed] == TopicSpec("any").partitions

    async def test_a_topic_keeps_its_partitions(self, broker: Broker) -> None:
        spec = TopicSpec(self.fresh("topic"), partitions=3)
        await broker.ensure_topic(spec)
        await broker.ensure_topic(spec)
        with pytest.raises(UnsupportedCapabilityError):
            await broker.ensure_topic(structs.replace(spec, partitions=4))
        assert [state.partitions for state in await broker.topics() if state.name == spec.name] == [3]

    async def test_a_thousand_destinations_cost_nothing_but_their_messages(self, broker: Broker) -> None:
        configured = TopicSpec(self.fresh("topic"), partitions=3)
        await broker.ensure_topic(configured)
        names = [f"{configured.name}-{n}" for n in range(_DESTINATIONS)]

        async def one_to_each() -> None:
            await broker.publish([Outgoing(name, a_message("key", b"x" * 64)) for name in names])

        await one_to_each()
        tracemalloc.start()
        try:
            for _ in range(3):
                await one_to_each()
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert grown / (3 * _DESTINATIONS) < _BYTES_PER_MESSAGE
        held = {state.name: state for state in await broker.topics()}
        assert all(held[name].messages == 4 for name in names)
        assert held[configured.name].partitions == 3
