"""What the scenarios of running services share: their events, and tools to run services and see what they did."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import count, islice
from typing import Any, TypeVar, cast

from msgspec import Struct
from msgspec.structs import replace

from antiphon.brokers.placement import place
from antiphon.brokers.ports import Broker, StoreBroker, Subscription
from antiphon.events.clock import Clock, SystemClock
from antiphon.events.declare import EventKind, Key, event
from antiphon.events.message import Message, Outgoing
from antiphon.resilience import Retry
from antiphon.runtime.compose import Composer
from antiphon.runtime.service import Service
from antiphon.runtime.settings import ServiceSettings, Settings
from antiphon.runtime.stand_ins import StandIns
from antiphon.storage.database import Database
from antiphon.storage.dead_letters import DeadLetter, behind, list_parked
from antiphon.testing.conformance.suite import BrokerSuite

T = TypeVar("T", bound=Any)


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    """A customer placed an order."""

    order_id: Key[str]
    number: int = 0


@event(topic="payments")
class PaymentTaken(Struct, frozen=True):
    """What an order costs was paid."""

    order_id: Key[str]
    number: int = 0


@event(topic="prices", kind=EventKind.STATE_TRANSFER)
class PriceSet(Struct, frozen=True):
    """A product costs this from now on."""

    product: Key[str]
    pence: int


@event(topic="orders", kind=EventKind.NOTIFICATION)
class OrderReadyToShip(Struct, frozen=True):
    """The details are fetched."""

    order_id: Key[str]


class Address(Struct, frozen=True):
    """Where an order goes."""

    street: str


class RuntimeSuite(BrokerSuite):
    """Tools for scenarios. The `broker` holds nothing of other tests, or keeps their topics and groups apart."""

    def service(self, name: str = "payments", *, inbox: bool = True) -> Service:
        """A service with tables `ledger`, `accounts` and `bookings`."""
        return Service(name, migrations="migrations", inbox=inbox, policy=Retry(delayed=0))

    def stand_ins(self) -> StandIns | None:
        """What takes the place of the services' clock, where the broker lives in a time of its own."""
        return None

    def beside(self, broker: Broker) -> Database | None:
        """The store of the services, where it is not the broker's own."""
        return None

    def settings(self, broker: Broker) -> Settings:
        """What services need to know to be described."""
        own = self.beside(broker)
        return Settings(common=ServiceSettings(broker=broker.url, store=None if own is None else own.url))

    def clock(self) -> Clock:
        """The time that services live in."""
        stand_ins = self.stand_ins()
        return SystemClock() if stand_ins is None else stand_ins.clock

    @asynccontextmanager
    async def running(
        self,
        broker: Broker,
        *services: Service,
        drain: timedelta = timedelta(seconds=10),
        fetch: int = 1000,
        lane_of: Callable[[object], int] = hash,
    ) -> AsyncGenerator[None]:
        """`async with`: they run in it, and are stopped in order at its end. `lane_of` says which keys share a lane."""
        common = ServiceSettings(broker=broker.url, drain_timeout=drain, fetch_messages=fetch)
        stand_ins = self.stand_ins() or StandIns()
        stand_ins = replace(stand_ins, chance=replace(stand_ins.chance, lane_of=lane_of))
        try:
            for service in services:
                await service.start(broker, Settings(common=common), stand_ins, self.beside(broker))
            yield
        finally:
            for service in services:
                await service.stop()

    async def settled(self, *services: Service) -> None:
        """Return when these have nothing left to do; fails when that takes too long."""
        await self.until(lambda: self._rest(services))

    async def _rest(self, services: Sequence[Service]) -> bool:
        # Twice, since what one of them published may have reached another that was looked at before.
        return all([await service.caught_up() for service in (*services, *services)])

    async def until(self, holds: Callable[[], object]) -> None:
        """Return when `holds()`, or what it awaits, is true; fails when that takes too long."""
        async with self.in_time():
            while True:
                found = holds()
                if await found if asyncio.iscoroutine(found) else found:
                    return
                await asyncio.sleep(0.002)

    async def place(self, broker: Broker, *orders: object) -> list[Message]:
        """Publish these events as somebody else would, in one batch; returns their messages."""
        outgoing = [self.outgoing(each) for each in orders]
        await broker.publish(outgoing)
        return [one.message for one in outgoing]

    def outgoing(self, event: object) -> Outgoing:
        """The message of an event and its topic."""
        return Composer("scenario", self.clock()).first(event)

    async def neighbors(self, broker: Broker, number: int) -> list[OrderPlaced]:
        """So many numbered orders, each with a key of its own, of one partition of their topic, which exists."""
        (partitions,) = [state.partitions for state in await broker.topics() if state.name == "orders"]
        keys = (key for key in (f"order-{each}" for each in count()) if place(key, partitions) == 0)
        return [OrderPlaced(key, each) for each, key in enumerate(islice(keys, number))]

    async def listen(self, broker: Broker, topic: str = "payments") -> Subscription:
        """Somebody who reads along, from before the first message."""
        return await self.join(broker, self.fresh("witness"), topic)

    async def heard(self, witness: Subscription, count: int) -> list[Message]:
        """The next messages that it read, exactly so many."""
        deliveries = await self.receive(witness, count)
        await self.assert_silent(witness)
        return [delivery.message for delivery in deliveries]

    def store(self, broker: Broker) -> Database:
        """Where services on this broker keep their tables."""
        return self.beside(broker) or cast(StoreBroker, broker).database

    async def ledger(self, broker: Broker) -> list[str]:
        """The orders in the ledger, in the order in which they were written."""
        return await self.store(broker).fetch("select order_id from ledger order by rowid", row=str)

    async def parked(self, broker: Broker) -> Sequence[DeadLetter]:
        """Everything parked, in order."""
        return await list_parked(self.store(broker))

    async def behind(self, broker: Broker, letter: DeadLetter) -> int:
        """How many messages of its key wait behind a parked one."""
        return (await behind(self.store(broker), letter)).messages


def in_order(broker: Broker, found: Sequence[T]) -> Sequence[T]:
    """What was found, sorted where the broker does not keep the order of what it gives again."""
    return found if broker.capabilities.key_order else sorted(found)


def orders(count: int, *, keys: int | None = None) -> list[OrderPlaced]:
    """Numbered orders: each with a key of its own, or taking turns over so many."""
    return [OrderPlaced(f"order-{number % (keys or count)}", number) for number in range(count)]
