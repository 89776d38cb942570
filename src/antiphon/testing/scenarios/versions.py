"""Promises about versions that meet in one log: older ones are read, newer ones wait, by choice they do not."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from msgspec import Struct, structs

from antiphon.brokers.ports import Broker, Start
from antiphon.events.declare import Key, event
from antiphon.events.message import Message, Outgoing
from antiphon.runtime.route import Newer
from antiphon.runtime.service import Service
from antiphon.runtime.settings import ServiceSettings, Settings
from antiphon.runtime.stand_ins import StandIns
from antiphon.storage.database import Transaction
from antiphon.testing.clock import VirtualClock
from antiphon.testing.scenarios.suite import OrderPlaced, PriceSet, RuntimeSuite, in_order


@event(topic="orders", version=2, name="OrderPlaced")
class OrderPlacedInShop(Struct, frozen=True):
    """As newer code declares it: with the shop, which older messages do not name."""

    order_id: Key[str]
    number: int = 0
    shop: str = "the first"


class VersionScenarios(RuntimeSuite):
    """A rolling deploy: messages are newer than the code that reads them."""

    def _newer(self, key: str, number: int) -> Outgoing:
        message = self.outgoing(OrderPlacedInShop(key, number, "the second")).message
        return Outgoing("orders", message)

    async def _a_key_elsewhere(self, broker: Broker) -> str:
        """A key of another partition than "order-0"."""
        reader = await self.join(broker, self.fresh("probe"), "orders")
        await self.place(broker, *[OrderPlaced(f"order-{n}", -1) for n in range(20)])
        seen = {d.message.key: d.partition for d in await self.receive(reader, 20)}
        return next(key for key, at in seen.items() if key is not None and at != seen["order-0"])

    @pytest.mark.parametrize("with_transaction", [False, True])
    async def test_a_newer_message_pauses_its_partition_until_newer_code_runs(
        self, broker: Broker, with_transaction: bool
    ) -> None:
        other = await self._a_key_elsewhere(broker)
        old, seen = self.service(), list[tuple[str, int]]()
        _declare(old, seen, with_transaction=with_transaction)
        async with self.running(broker, old):
            await self.settled(old)
            seen.clear()
            await broker.publish([self._newer("order-0", 1)])
            await self.place(broker, OrderPlaced("order-0", 2), OrderPlaced(other, 3))
            await self.settled(old)
            assert seen == [(other, 3)]
            await self.place(broker, OrderPlaced("order-0", 4), OrderPlaced(other, 5))
            await self.settled(old)
        assert seen == [(other, 3), (other, 5)]
        assert await self.parked(broker) == []
        new, shops = self.service(), list[tuple[int, str]]()

        @new.on(OrderPlacedInShop)
        async def take(order: OrderPlacedInShop, tx: Transaction) -> None:
            shops.append((order.number, order.shop))

        async with self.running(broker, new):
            await self.settled(new)
        assert in_order(broker, shops) == [(1, "the second"), (2, "the first"), (4, "the first")]

    @pytest.mark.parametrize("with_transaction", [False, True])
    async def test_a_newer_message_is_parked_or_accepted_by_choice(
        self, broker: Broker, with_transaction: bool
    ) -> None:
        for newer in ("park", "accept"):
            service, seen = self.service(newer), list[tuple[str, int]]()
            _declare(service, seen, newer=newer, with_transaction=with_transaction)
            async with self.running(broker, service):
                await broker.publish([self._newer("order-0", 1)])
                await self.place(broker, OrderPlaced("order-0", 2), OrderPlaced("order-1", 3))
                await self.settled(service)
                if newer == "park":
                    follower = [] if broker.capabilities.key_order else [("order-0", 2)]
                    assert sorted(seen) == [*follower, ("order-1", 3)]
                    (letter,) = await self.parked(broker)
                    assert letter.reason == "NewerVersionError"
                    assert letter.message.schema_version == 2
                    assert await self.behind(broker, letter) == 1 - len(follower)
                else:
                    assert [number for key, number in seen if key == "order-0"][-2:] == [1, 2]
                    assert len(await self.parked(broker)) == 1

    async def test_what_follows_a_newer_message_waits_behind_it_however_long_its_lane_is_busy(
        self, broker: Broker
    ) -> None:
        """The pause ends while the follower still stands in a lane behind a slow handler of another partition."""
        other = await self._a_key_elsewhere(broker)
        service, clock, seen = Service("payments", concurrency=1, start=Start.END), VirtualClock(), list[int]()
        gates = {0: asyncio.Event(), 2: asyncio.Event()}

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced) -> None:
            seen.append(order.number)
            if order.number in gates:
                await gates[order.number].wait()

        settings = Settings(common=ServiceSettings(broker=broker.url))
        await service.start(broker, settings, StandIns(clock=clock), self.beside(broker))
        for message in (
            self.outgoing(OrderPlaced(other, 0)),
            self._newer("order-0", 1),
            self.outgoing(OrderPlaced(other, 2)),
            self.outgoing(OrderPlaced("order-0", 3)),
        ):
            await broker.publish([message])
            await asyncio.sleep(0.05)
        gates[0].set()
        await self.until(lambda: seen == [0, 2])
        await clock.advance(timedelta(seconds=2))
        gates[2].set()
        await asyncio.sleep(0.05)
        await clock.advance(timedelta(seconds=2))
        await asyncio.sleep(0.05)
        await service.stop()
        assert seen == [0, 2]

    async def test_what_waits_for_newer_code_takes_no_room_from_the_others(self, broker: Broker) -> None:
        other = await self._a_key_elsewhere(broker)
        service, seen = Service("payments", start=Start.END), list[int]()

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced) -> None:
            seen.append(order.number)

        settings = Settings(common=ServiceSettings(broker=broker.url, inflight_messages=20))
        await service.start(broker, settings, None, self.beside(broker))
        followers = [self.outgoing(OrderPlaced("order-0", number)) for number in range(1, 20)]
        await broker.publish([self._newer("order-0", 0), *followers])
        await asyncio.sleep(0.1)
        await self.place(broker, *[OrderPlaced(other, number) for number in range(100, 150)])
        await self.until(lambda: len(seen) == 50)
        await service.stop()
        assert seen == list(range(100, 150))

    async def test_members_that_read_other_topics_share_those_they_have_in_common(self, broker: Broker) -> None:
        """A deploy that adds a topic, and one that takes it away again, each beside the code before it."""
        old, new, taken = Service("payments"), Service("payments"), list[str]()

        async def take(order: OrderPlaced) -> None:
            taken.append(order.order_id)

        async def note(price: PriceSet) -> None:
            taken.append(price.product)

        old.on(OrderPlaced)(take)
        new.on(OrderPlaced)(take)
        new.on(PriceSet)(note)
        expected = list[str]()

        async def place(round: int) -> None:
            placed = [OrderPlaced(f"order-{round}-{number}") for number in range(50)]
            await self.place(broker, *placed, *[PriceSet(f"product-{round}-{number}", 1) for number in range(50)])
            expected.extend(order.order_id for order in placed)

        async with self.running(broker, old):
            await place(1)
            await self.settled(old)
            async with self.running(broker, new):
                await place(2)
                await self.settled(old, new)
            await place(3)
            await self.settled(old)
        assert sorted(name for name in taken if name.startswith("order")) == sorted(expected)
        async with self.running(broker, new):
            await self.settled(new)
        products = sorted(name for name in taken if name.startswith("product"))
        assert products == sorted(f"product-{round}-{number}" for round in (1, 2, 3) for number in range(50))
        assert len(taken) == len(expected) * 2

    async def test_fields_that_the_code_does_not_know_are_ignored(self, broker: Broker) -> None:
        service, seen = Service("payments"), list[tuple[str, int]]()
        _declare(service, seen, with_transaction=False)
        message: Message = structs.replace(self._newer("order-0", 1).message, schema_version=1)
        async with self.running(broker, service):
            await broker.publish([Outgoing("orders", message)])
            await self.settled(service)
        assert seen == [("order-0", 1)]


def _declare(service: Service, seen: list[tuple[str, int]], *, newer: Newer = "pause", with_transaction: bool) -> None:
    if with_transaction:

        @service.on(OrderPlaced, newer=newer)
        async def write(order: OrderPlaced, tx: Transaction) -> None:
            seen.append((order.order_id, order.number))
    else:

        @service.on(OrderPlaced, newer=newer)
        async def take(order: OrderPlaced) -> None:
            seen.append((order.order_id, order.number))
