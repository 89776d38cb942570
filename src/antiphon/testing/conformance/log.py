"""Promises of a log: the watermark, its owner, pausing, and reading again."""

from __future__ import annotations

from datetime import timedelta

import pytest

from antiphon.brokers.ports import Broker, Browsing, Delivery, SeekTo, Start, StoreBroker, SubscribeOptions, TopicSpec
from antiphon.errors import UnknownTopicError, UnsupportedCapabilityError, UsageError
from antiphon.testing.conformance.fetching import FetchingConformance
from antiphon.testing.conformance.suite import ROOM, BrokerSuite, by_key, ids, requires, watermarks


class WatermarkConformance(BrokerSuite):
    """What is behind the watermark is done; what is before it comes again, to whoever owns the partition."""

    async def test_keys_keep_their_order_across_batches(self, broker: Broker) -> None:
        topic = self.fresh("topic")
        subscription = await self.join_log(broker, self.fresh("group"), topic)
        sent = [message for _ in range(5) for message in await self.publish(broker, topic, 60, keys=13)]
        assert broker.capabilities.key_order, "a log keeps the order of its keys"
        assert by_key(await self.receive(subscription, len(sent))) == by_key(sent)

    async def test_what_is_above_the_watermark_comes_again(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        first = await self.join_log(broker, group, topic)
        await self.publish(broker, topic, 10, keys=1)
        deliveries = await self.receive(first, 10)
        await first.commit(watermarks(deliveries[:6]))
        await first.close()
        second = await self.join_log(broker, group, topic)
        assert ids(await self.receive(second, 4)) == ids(deliveries[6:])
        await self.assert_silent(second)

    async def test_positions_say_what_lies_before_what(self, broker: Broker) -> None:
        topic = self.fresh("topic")
        subscription = await self.join_log(broker, self.fresh("group"), topic)
        await self.publish(broker, topic, 12, keys=1)
        places = [delivery.position for delivery in await self.receive(subscription, 12)]
        found = [[subscription.is_before(one, other) for other in places] for one in places]
        assert found == [[one < other for other in range(12)] for one in range(12)]
        with pytest.raises(UsageError):
            subscription.is_before(places[0], "elsewhere:17")

    async def test_an_older_commit_does_nothing(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        first = await self.join_log(broker, group, topic)
        await self.publish(broker, topic, 10, keys=1)
        deliveries = await self.receive(first, 10)
        await first.commit(watermarks(deliveries[:6]))
        await first.commit(watermarks(deliveries[:6]))
        await first.commit(watermarks(deliveries[:2]))
        await first.close()
        second = await self.join_log(broker, group, topic)
        assert ids(await self.receive(second, 4)) == ids(deliveries[6:])

    async def test_a_commit_does_not_disturb_what_is_being_read(self, broker: Broker) -> None:
        topic = self.fresh("topic")
        subscription = await self.join_log(broker, self.fresh("group"), topic)
        sent = await self.publish(broker, topic, 10, keys=1)
        first = await self.receive(subscription, 4)
        await subscription.commit(watermarks(first[:1]))
        assert ids(first + await self.receive(subscription, 6)) == ids(sent)
        await self.assert_silent(subscription)

    async def test_who_lost_a_partition_can_no_longer_settle_in_it(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        stalled = await self.join_log(broker, group, topic)
        sent = await self.publish(broker, topic, 20)
        held = await self.receive(stalled, 20)
        taking_over = await self.join_log(broker, group, topic)
        await self.evict(broker, stalled)
        repeated = await self.receive(taking_over, 20)
        assert sorted(ids(repeated)) == sorted(ids(sent))
        await stalled.commit(watermarks(held))
        assert self.owned[id(stalled)]
        self.hear(stalled)
        assert not self.owned[id(stalled)], "it was not told that it lost everything"
        assert sum(lag.messages for lag in await broker.lag(group)) == 20
        await taking_over.commit(watermarks(repeated))
        assert sum(lag.messages for lag in await broker.lag(group)) == 0

    async def test_notices_tell_what_is_owned(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        first = await self.join_log(broker, group, topic)
        await self.until_shared([first], partitions=8)
        second = await self.join_log(broker, group, topic)
        await self.until_shared([first, second], partitions=8)
        assert not self.owned[id(first)] & self.owned[id(second)]
        await first.close()
        await self.until_shared([second], partitions=8)


class PausingConformance(BrokerSuite):
    """A paused partition waits; membership and the other partitions go on."""

    async def test_pausing_holds_back_one_partition_and_keeps_it(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        subscription = await self.join_log(broker, group, topic)
        await self.publish(broker, topic, 40)
        deliveries = await self.receive(subscription, 40)
        paused = deliveries[0].partition
        subscription.pause([paused])
        subscription.pause([paused])
        sent = by_partition(deliveries)
        await self.publish(broker, topic, 40)
        others = await self.receive(subscription, 40 - len(sent[paused]))
        assert paused not in by_partition(others)
        await self.assert_silent(subscription)
        assert paused in self.owned[id(subscription)]

    async def test_resuming_goes_on_where_it_stopped(self, broker: Broker) -> None:
        topic = self.fresh("topic")
        subscription = await self.join_log(broker, self.fresh("group"), topic)
        sent = await self.publish(broker, topic, 10, keys=1)
        first = await self.receive(subscription, 4)
        subscription.pause([first[0].partition])
        await self.assert_silent(subscription)
        sent += await self.publish(broker, topic, 5, keys=1)
        subscription.resume([first[0].partition])
        subscription.resume([first[0].partition])
        assert ids(first + await self.receive(subscription, 11)) == ids(sent)
        await self.assert_silent(subscription)

    async def test_a_paused_partition_can_be_settled(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        subscription = await self.join_log(broker, group, topic)
        await self.publish(broker, topic, 5, keys=1)
        deliveries = await self.receive(subscription, 5)
        subscription.pause([deliveries[0].partition])
        await subscription.commit(watermarks(deliveries))
        assert sum(lag.messages for lag in await broker.lag(group)) == 0


class LagConformance(BrokerSuite):
    """How far a group is behind, in messages and in time."""

    async def test_lag_counts_messages_and_seconds(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        subscription = await self.join_log(broker, group, topic)
        assert sum(lag.messages for lag in await broker.lag(group)) == 0
        await self.publish(broker, topic, 10, keys=1)
        await self.elapse(self.patience)
        (behind,) = [lag for lag in await broker.lag(group) if lag.messages]
        assert (behind.group, behind.partition.topic, behind.messages) == (group, topic, 10)
        assert behind.age >= 0.9 * self.patience
        deliveries = await self.receive(subscription, 10)
        await subscription.commit(watermarks(deliveries[:7]))
        (behind,) = [lag for lag in await broker.lag(group) if lag.messages]
        assert (behind.messages, behind.position, behind.end) == (3, deliveries[6].position, deliveries[9].position)
        await subscription.commit(watermarks(deliveries))
        assert all(lag.messages == 0 and lag.age == timedelta() for lag in await broker.lag(group))

    async def test_an_unknown_group_has_no_lag(self, broker: Broker) -> None:
        assert list(await broker.lag(self.fresh("group"))) == []


class ReplayConformance(BrokerSuite):
    """A group can read again, and a late one reads what was there before it."""

    async def seek_to_start(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        await self.join(broker, group, topic)
        await broker.seek(group, topic, SeekTo.START)

    async def seek_to_moment(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        await self.join(broker, group, topic)
        await broker.seek(group, topic, self.now())

    async def browse_all(self, broker: Broker) -> None:
        if not isinstance(broker, Browsing):
            raise UnsupportedCapabilityError(broker.url, "replay", "it cannot be browsed")
        await self.publish(broker, topic := self.fresh("topic"), 1)
        await broker.browse(topic, SeekTo.START, 10)

    @requires("replay", seek_to_start)
    async def test_a_late_group_reads_from_the_start(self, broker: Broker) -> None:
        topic = self.fresh("topic")
        sent = await self.publish(broker, topic, 30)
        late = await self.join_log(broker, self.fresh("group"), topic)
        assert by_key(await self.receive(late, 30)) == by_key(sent)

    async def test_a_group_may_start_at_the_end(self, broker: Broker) -> None:
        topic = self.fresh("topic")
        await self.publish(broker, topic, 30)
        late = await self.join_log(broker, self.fresh("group"), topic, options=SubscribeOptions(start=Start.END))
        await self.assert_silent(late)
        sent = await self.publish(broker, topic, 5)
        assert sorted(ids(await self.receive(late, 5))) == sorted(ids(sent))

    @requires("replay", seek_to_start)
    async def test_seeking_to_the_start_reads_everything_again(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        subscription = await self.join_log(broker, group, topic)
        sent = await self.publish(broker, topic, 20)
        await subscription.commit(watermarks(await self.receive(subscription, 20)))
        await broker.seek(group, topic, SeekTo.START)
        assert by_key(await self.receive(subscription, 20)) == by_key(sent)

    @requires("replay", seek_to_start)
    async def test_commits_from_before_a_seek_are_void(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        subscription = await self.join_log(broker, group, topic)
        await self.publish(broker, topic, 20)
        before = await self.receive(subscription, 20)
        await broker.seek(group, topic, SeekTo.START)
        await subscription.commit(watermarks(before))
        assert sum(lag.messages for lag in await broker.lag(group)) == 20
        await subscription.commit(watermarks(await self.receive(subscription, 20)))
        assert sum(lag.messages for lag in await broker.lag(group)) == 0

    @requires("replay", seek_to_start)
    async def test_seeking_to_the_end_skips_what_is_there(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        subscription = await self.join_log(broker, group, topic)
        await self.publish(broker, topic, 20)
        await broker.seek(group, topic, SeekTo.END)
        await self.assert_silent(subscription)
        sent = await self.publish(broker, topic, 3)
        assert sorted(ids(await self.receive(subscription, 3))) == sorted(ids(sent))

    @requires("replay", seek_to_start)
    async def test_seeking_to_a_position_goes_on_after_it(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        subscription = await self.join_log(broker, group, topic)
        await self.publish(broker, topic, 20, keys=1)
        deliveries = await self.receive(subscription, 20)
        await broker.seek(group, topic, {deliveries[4].partition: deliveries[4].position})
        assert ids(await self.receive(subscription, 15)) == ids(deliveries[5:])

    async def seek_in_a_transaction(self, broker: Broker) -> None:
        if not isinstance(broker, StoreBroker):
            raise UnsupportedCapabilityError(broker.url, "store_transactions", "it is in no database")
        async with broker.database.transaction() as tx:
            await broker.seek_in(tx, self.fresh("group"), self.fresh("topic"), SeekTo.START)

    @requires("replay", seek_to_start)
    @requires("store_transactions", seek_in_a_transaction)
    async def test_a_seek_in_a_transaction_comes_with_its_commit(self, broker: Broker) -> None:
        assert isinstance(broker, StoreBroker), "it claims store_transactions but is no StoreBroker"
        topic, group = self.fresh("topic"), self.fresh("group")
        subscription = await self.join_log(broker, group, topic)
        sent = await self.publish(broker, topic, 5)
        await subscription.commit(watermarks(await self.receive(subscription, 5)))
        for ends in ("rollback", "commit"):
            tx = await broker.database.begin()
            await broker.seek_in(tx, group, topic, SeekTo.START)
            await (tx.rollback() if ends == "rollback" else tx.commit())
            lag = sum(lag.messages for lag in await broker.lag(group))
            assert lag == (0 if ends == "rollback" else 5)
        assert by_key(await self.receive(subscription, 5)) == by_key(sent)

    @requires("seek_time", seek_to_moment)
    async def test_seeking_to_a_moment_reads_what_came_after_it(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        subscription = await self.join_log(broker, group, topic)
        await self.publish(broker, topic, 20)
        await self.elapse(self.patience)
        moment = self.now()
        await self.elapse(self.patience)
        sent = await self.publish(broker, topic, 12)
        await self.receive(subscription, 32)
        await broker.seek(group, topic, moment)
        assert sorted(ids(await self.receive(subscription, 12))) == sorted(ids(sent))
        await self.assert_silent(subscription)

    @requires("replay", seek_to_start)
    async def test_a_group_without_members_can_be_moved(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        await self.publish(broker, topic, 20)
        await broker.seek(group, topic, SeekTo.END)
        subscription = await self.join_log(broker, group, topic)
        await self.assert_silent(subscription)

    @requires("replay", seek_to_start)
    async def test_seeking_in_an_unknown_topic_is_refused(self, broker: Broker) -> None:
        with pytest.raises(UnknownTopicError):
            await broker.seek(self.fresh("group"), self.fresh("topic"), SeekTo.START)

    @requires("replay", browse_all)
    async def test_browsing_reads_without_a_group(self, broker: Broker) -> None:
        assert isinstance(broker, Browsing)
        topic = self.fresh("topic")
        sent = await self.publish(broker, topic, 30)
        seen = list(await broker.browse(topic, SeekTo.START, 20))
        assert len(seen) == 20
        after = {partition.number: position for partition, position in watermarks(seen).items()}
        seen += await broker.browse(topic, after, 100)
        assert by_key(seen) == by_key(sent)
        assert list(await broker.browse(topic, SeekTo.END, 10)) == []

    @requires("replay", browse_all)
    async def test_browsing_can_begin_at_the_end(self, broker: Broker) -> None:
        assert isinstance(broker, Browsing)
        topic = self.fresh("topic")
        await self.publish(broker, topic, 30)
        ends = await broker.ends(topic)
        assert set(ends) == set(range(TopicSpec(topic).partitions))
        assert list(await broker.browse(topic, ends, 10)) == []
        sent = await self.publish(broker, topic, 7)
        assert by_key(await broker.browse(topic, ends, 10)) == by_key(sent)


class LogFetchingConformance(FetchingConformance):
    """Fetching from a log, beside what holds for every fetch."""

    async def test_partitions_with_much_do_not_starve_the_others(self, broker: Broker) -> None:
        topic, busy = self.fresh("topic"), self.fresh("topic")
        subscription = await self.join_log(broker, self.fresh("group"), topic, busy)
        await self.publish(broker, busy, 2_000, keys=1)
        sent = await self.publish(broker, topic, 8)
        await self.elapse(self.patience)  # a broker far away takes a moment until it has sent both
        seen: list[Delivery] = []
        async with self.in_time():
            for _ in range(20):
                seen += await subscription.fetch(50, ROOM, self.timeout)
        assert set(ids(sent)) <= set(ids(seen))


def by_partition(deliveries: list[Delivery]) -> dict[object, list[str]]:
    """The ids that came from each partition, in order."""
    parts: dict[object, list[str]] = {}
    for delivery in deliveries:
        parts.setdefault(delivery.partition, []).append(delivery.message.id)
    return parts
