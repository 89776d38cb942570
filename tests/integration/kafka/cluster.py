"""Clusters that are shut, locked or lost, and what is written to them and read from them."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from msgspec import structs

from antiphon.brokers.kafka import KafkaBroker, KafkaOptions
from antiphon.brokers.ports import Delivery, LogSubscription
from antiphon.errors import AntiphonError, PublishError
from antiphon.events.ids import new_id
from antiphon.events.message import Message, Outgoing
from antiphon.testing.servers import KafkaServer, free_port

OPTIONS = KafkaOptions(
    lease=timedelta(seconds=6),
    beat=timedelta(milliseconds=200),
    grace=timedelta(seconds=3),
    patience=timedelta(seconds=20),
)
A_WHILE = timedelta(milliseconds=200)


def messages(count: int, *, keys: int = 5, size: int = 20) -> list[Message]:
    """Numbered, taking turns over some keys."""
    now = datetime.now(UTC)
    return [Message(new_id(), "Numbered", now, f"{n}".encode().ljust(size), f"key-{n % keys}") for n in range(count)]


def noise(count: int, size: int, *, keys: int = 5) -> list[Message]:
    """As `messages`, with so many bytes of data, which no compression makes fewer."""
    return [structs.replace(each, data=os.urandom(size)) for each in messages(count, keys=keys)]


def outgoing(sent: Sequence[Message], topic: str = "orders") -> list[Outgoing]:
    return [Outgoing(topic, message) for message in sent]


@asynccontextmanager
async def opened(address: str, options: KafkaOptions = OPTIONS) -> AsyncIterator[KafkaBroker]:
    broker = KafkaBroker(address, options)
    await broker.open()
    try:
        yield broker
    finally:
        await broker.close()


async def publish_all(broker: KafkaBroker, sent: Sequence[Message], topic: str = "orders") -> None:
    """As a service does: what was refused for now is sent again, until all is held."""
    await publish_again(broker, outgoing(sent, topic))


async def publish_again(broker: KafkaBroker, left: list[Outgoing]) -> None:
    """As `publish_all`, of what is ready to go."""
    while left:
        try:
            await broker.publish(left)
            return
        except PublishError as error:
            if not all(refusal.retryable for refusal in error.refusals):
                raise
            refused = {refusal.message_id for refusal in error.refusals}
            left = [one for one in left if one.message.id in refused]
        except AntiphonError as error:
            if not error.retryable:
                raise
        await asyncio.sleep(A_WHILE.total_seconds())


class Member:
    """Reads and settles as a service does, whatever happens, and keeps what it read."""

    def __init__(self, subscription: LogSubscription, read: list[Delivery] | None = None) -> None:
        self.subscription = subscription
        self.read: list[Delivery] = [] if read is None else read
        self.errors: list[AntiphonError] = []
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            try:
                deliveries = await self.subscription.fetch(100, 1 << 20, A_WHILE)
                self.subscription.notices()
                if deliveries:
                    self.read += deliveries
                    await self.subscription.commit({each.partition: each.position for each in deliveries})
            except AntiphonError as error:
                self.errors.append(error)
                if not error.retryable:
                    raise
                await asyncio.sleep(A_WHILE.total_seconds())

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.subscription.close()

    async def failure(self) -> AntiphonError:
        """What it stopped with."""
        async with asyncio.timeout(60):
            await asyncio.wait([self._task])
        error = self._task.exception()
        assert isinstance(error, AntiphonError), error
        return error


async def until_read(read: Sequence[Delivery], sent: Sequence[Message], seconds: float = 60) -> None:
    """Return when all of it was read."""
    wanted = {message.id for message in sent}
    try:
        async with asyncio.timeout(seconds):
            while not wanted <= {each.message.id for each in read}:
                await asyncio.sleep(0.05)
    except TimeoutError:
        missing = wanted - {each.message.id for each in read}
        raise AssertionError(f"{len(missing)} of {len(wanted)} messages did not come") from None


async def until_settled(broker: KafkaBroker, group: str) -> None:
    """Return when the group has read all that is there, and said so."""
    async with asyncio.timeout(30):
        while sum(lag.messages for lag in await broker.lag(group)):
            await asyncio.sleep(0.1)


async def let_take(broker: KafkaBroker, topic: str, size: int) -> None:
    """Let the topic take batches up to so many bytes from now on; the broker's object does not hear of it."""
    entry = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    (answer,) = broker.native.admin.incremental_alter_configs([resource]).values()
    await asyncio.wrap_future(answer)


async def members_of(broker: KafkaBroker, group: str) -> list[int]:
    """Of each member that the cluster knows the number of partitions that it holds."""
    (answer,) = broker.native.admin.describe_consumer_groups([group]).values()
    found = await asyncio.wrap_future(answer)
    return [len(member.assignment.topic_partitions) for member in found.members]


def first_reading_is_in_order(read: Sequence[Delivery]) -> bool:
    """Whether each key's messages came in order, repetitions left out."""
    seen: set[str] = set()
    last: dict[str | None, int] = {}
    for each in read:
        if each.message.id in seen:
            continue
        seen.add(each.message.id)
        number = int(each.message.data or b"")
        if number < last.get(each.message.key, -1):
            return False
        last[each.message.key] = number
    return True


def locked() -> tuple[KafkaServer, str]:
    """A server that, at the address beside it, lets in only `alice`, who may do nothing, and `root`, who may do all."""
    server, port = KafkaServer(), free_port()
    plain = "org.apache.kafka.common.security.plain.PlainLoginModule"
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule"
    own = server._all_settings()
    server._settings = {
        "listeners": f"{own['listeners']},CLIENT://127.0.0.1:{port}",
        "advertised.listeners": f"{own['advertised.listeners']},CLIENT://127.0.0.1:{port}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,CLIENT:SASL_PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
        "listener.name.client.plain.sasl.jaas.config": (f'{plain} required user_alice="a" user_root="r";'),
        "listener.name.client.scram-sha-256.sasl.jaas.config": f"{scram} required;",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:root",
    }
    return server, f"127.0.0.1:{port}"


def wipe(server: KafkaServer) -> None:
    """Kill it, and let it begin with nothing, at the same address."""
    server.kill()
    shutil.rmtree(server._folder / "data")
    (server._folder / "server.properties").unlink()
    server.start()
