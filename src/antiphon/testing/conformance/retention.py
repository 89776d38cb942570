"""Promises of a log about forgetting: it is declared, and nobody is skipped in silence."""

from __future__ import annotations

from datetime import timedelta

import pytest

from antiphon.brokers.ports import Broker, SeekTo, Start, SubscribeOptions, TopicSpec
from antiphon.errors import PositionLostError
from antiphon.testing.conformance.suite import ROOM, BrokerSuite, ids, requires, watermarks

_COUNT = 200
_SIZE = 1_000
_KEPT = 20_000


class RetentionConformance(BrokerSuite):
    """A topic keeps no more than was asked for; a group whose position is gone stops, or says what it missed."""

    async def overrun(self, broker: Broker, lost: Start) -> tuple[str, str]:
        """A group that stands at a position which retention has deleted since."""
        topic, group = self.fresh("topic"), self.fresh("group")
        await broker.ensure_topic(TopicSpec(topic, partitions=1, keep_bytes=_KEPT))
        subscription = await self.join_log(broker, group, topic, options=SubscribeOptions(lost=lost))
        await self.publish(broker, topic, 1, size=_SIZE)
        await subscription.commit(watermarks(await self.receive(subscription, 1)))
        await subscription.close()
        for _ in range(4):
            await self.publish(broker, topic, _COUNT // 4, size=_SIZE)
        await self.retain(broker)
        return topic, group

    async def test_a_topic_keeps_no_more_bytes_than_declared(self, broker: Broker) -> None:
        topic, _ = await self.overrun(broker, Start.STOP)
        (state,) = [state for state in await broker.topics() if state.name == topic]
        assert state.keep_bytes == _KEPT
        assert state.bytes is None or 0 < state.bytes <= _KEPT
        assert 0 < state.messages < _COUNT

    async def test_a_topic_keeps_nothing_longer_than_declared(self, broker: Broker) -> None:
        topic, keep_for = self.fresh("topic"), 3 * self.patience
        await broker.ensure_topic(TopicSpec(topic, partitions=1, keep_for=keep_for))
        await self.publish(broker, topic, 10)
        await self.elapse(2 * keep_for)
        await self.retain(broker)
        (state,) = [state for state in await broker.topics() if state.name == topic]
        assert (state.messages, state.keep_for) == (0, keep_for)

    async def test_retention_can_be_changed(self, broker: Broker) -> None:
        topic = self.fresh("topic")
        for keep_for, keep_bytes in ((None, None), (timedelta(days=7), 1 << 30), (timedelta(hours=1), None)):
            await broker.ensure_topic(TopicSpec(topic, keep_for=keep_for, keep_bytes=keep_bytes))
            (state,) = [state for state in await broker.topics() if state.name == topic]
            assert (state.keep_for, state.keep_bytes) == (keep_for, keep_bytes)

    async def test_a_group_whose_position_was_deleted_stops_with_an_error(self, broker: Broker) -> None:
        topic, group = await self.overrun(broker, Start.STOP)
        subscription = await self.join_log(broker, group, topic)
        with pytest.raises(PositionLostError) as raised:
            await subscription.fetch(10, ROOM, self.timeout)
        assert (raised.value.group, raised.value.topic, raised.value.partition) == (group, topic, 0)

    async def seek_to_start(self, broker: Broker) -> None:
        topic, group = await self.overrun(broker, Start.STOP)
        await broker.seek(group, topic, SeekTo.START)

    @requires("replay", seek_to_start)
    async def test_a_group_whose_position_was_deleted_goes_on_after_a_seek(self, broker: Broker) -> None:
        topic, group = await self.overrun(broker, Start.STOP)
        subscription = await self.join_log(broker, group, topic)
        await broker.seek(group, topic, SeekTo.START)
        assert await self.receive(subscription, 1)

    async def test_a_group_may_declare_to_go_on_at_the_start_and_counts_what_it_missed(self, broker: Broker) -> None:
        topic, group = await self.overrun(broker, Start.START)
        subscription = await self.join_log(broker, group, topic, options=SubscribeOptions(lost=Start.START))
        (held,) = [state.messages for state in await broker.topics() if state.name == topic]
        received = await self.receive(subscription, held)
        await subscription.commit(watermarks(received))
        (lag,) = await broker.lag(group)
        assert (lag.messages, lag.skipped) == (0, _COUNT - held)

    async def test_a_group_may_declare_to_go_on_at_the_end_and_counts_what_it_missed(self, broker: Broker) -> None:
        topic, group = await self.overrun(broker, Start.END)
        subscription = await self.join_log(broker, group, topic, options=SubscribeOptions(lost=Start.END))
        await self.until_shared([subscription], 1)  # its end is where it is when that is noticed
        await self.assert_silent(subscription)
        sent = await self.publish(broker, topic, 3)
        assert ids(await self.receive(subscription, 3)) == ids(sent)
        (lag,) = await broker.lag(group)
        assert lag.skipped == _COUNT
