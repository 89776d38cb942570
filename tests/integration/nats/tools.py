"""What tests of the broker on NATS share: one of their own on the server of the run, and how its time passes."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta

from msgspec.structs import replace

from antiphon.brokers.connect import connect
from antiphon.brokers.nats import NatsBroker
from antiphon.brokers.nats.subscription import NatsSubscription
from antiphon.brokers.nats.table import Kept
from antiphon.brokers.ports import Broker, Delivery, LogSubscription, Subscription
from antiphon.errors import ConnectionLostError
from antiphon.events.ids import new_id
from antiphon.events.message import Outgoing
from antiphon.testing.conformance.suite import a_message
from tests.integration.postgres.cutting import Road


def a_broker(url: str, *, options: str = "") -> NatsBroker:
    """One whose topics and groups nobody else sees."""
    broker = connect(f"{url}/test-{new_id()[-12:]}?{options}")
    assert isinstance(broker, NatsBroker)
    return broker


async def opened(url: str) -> NatsBroker:
    broker = connect(url)
    assert isinstance(broker, NatsBroker)
    await broker.open()
    return broker


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - nobody sets an event when it comes true
            await asyncio.sleep(0.05)


async def silence(broker: Broker, subscription: Subscription) -> None:
    """Send no more signs of life for it, and let its leases be over, which the others notice."""
    assert isinstance(broker, NatsBroker)
    assert isinstance(subscription, NatsSubscription)
    assert subscription._keeping is not None
    subscription._keeping.cancel()
    table, group = subscription._table, subscription.group
    await table.leave(group, subscription.id)
    standing = await subscription._leases.read()
    await table.write(
        [
            Kept(replace(kept.value, owner=None), kept.revision)
            for kept in standing.cursors.values()
            if kept.value.owner == subscription.id
        ]
    )
    for other in tuple(broker._subscriptions):
        if other is not subscription:
            await other.keep_up()


async def retained(broker: Broker) -> None:
    """The server deletes by age a moment later."""
    await asyncio.sleep(0.5)


def numbered(count: int, *, keys: int = 4, topic: str = "orders", size: int = 0) -> list[Outgoing]:
    """Messages with their number as data, taking turns over some keys."""
    return [Outgoing(topic, a_message(f"k{n % keys}", f"{n}".encode().ljust(size))) for n in range(count)]


def ids(found: Sequence[Outgoing | Delivery]) -> list[str]:
    return [each.message.id for each in found]


async def persistently(broker: Broker, outgoing: Sequence[Outgoing]) -> None:
    """Publish as a relay does: the same again, while the server is away."""
    while True:
        try:
            await broker.publish(outgoing)
        except ConnectionLostError:
            await asyncio.sleep(0.05)
        else:
            return


async def read_until(
    subscription: LogSubscription, enough: Callable[[list[Delivery]], object], *, commit: bool = True
) -> list[Delivery]:
    """Fetch and commit as a service does, also over times when the server is away, until there is enough."""
    found: list[Delivery] = []
    async with asyncio.timeout(40):
        while not enough(found):
            try:
                subscription.notices()
                deliveries = await subscription.fetch(1000, 1 << 26, timedelta(seconds=0.2))
                found += deliveries
                if commit and deliveries:
                    await subscription.commit({each.partition: each.position for each in deliveries})
            except ConnectionLostError:
                await asyncio.sleep(0.05)
    return found


def all_of(sent: Sequence[Outgoing]) -> Callable[[list[Delivery]], bool]:
    """Whether everything came, however often."""
    wanted = set(ids(sent))
    return lambda found: wanted <= set(ids(found))


def never(found: list[Delivery]) -> bool:
    """It is not enough until it fails."""
    return False


class ForgetfulRoad(Road):
    """Loses a server's last words when the client does not wait for them.

    So do systems that get a reset while these words wait to be read.
    """

    _is_waited_for = False

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if b"CONNECT" in data:
                    self._is_waited_for = b'"verbose": true' in data
                if answers and b"-ERR" in data and not self._is_waited_for:
                    at_once = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
                    writer.transport.abort()
                    return
                writer.write(data)
        writer.close()
