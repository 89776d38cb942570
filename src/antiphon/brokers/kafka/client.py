"""The driver, typed: the only file that imports it. What it raises is read by `faults`."""

# The driver's administration is hardly typed, and names what it exports elsewhere: this module is where that ends.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateImportUsage=false, reportUnknownLambdaType=false

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple, cast

from confluent_kafka import (
    Consumer,
    ConsumerGroupState,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka import Message as Record
from confluent_kafka.admin import (  # type: ignore[attr-defined] # it exports them without saying so
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from antiphon.brokers.kafka.membership import assigned
from antiphon.brokers.ports import Partition

__all__ = [
    "Admin",
    "Committed",
    "Consumer",
    "KafkaError",
    "KafkaException",
    "Producer",
    "Record",
    "TopicPartition",
    "error_of",
    "make_consumer",
    "make_producer",
]

Conf = Mapping[str, object]
OnPartitions = Callable[[list[TopicPartition]], None]
SOON_WELL = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.NOT_CONTROLLER,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
    }
)
"""What a cluster answers for a moment after it changed; asking again helps."""
REFUSALS = frozenset(
    {
        KafkaError._AUTHENTICATION,  # noqa: SLF001 - public in the driver
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.ILLEGAL_SASL_STATE,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
"""The cluster does not let us in, or not do this."""
_PAUSE = timedelta(milliseconds=50)
_AGAIN, _LEAST = 1.0, 0.1
"""Seconds after which a server that may be gone is not waited for any more: the first time, and the last."""
_ELECTION = 1.0
"""Seconds in which a partition that is there gets a leader."""
_UNKNOWN = -1001
_NOBODY = KafkaError._NOENT  # noqa: SLF001 - public in the driver


class Committed(NamedTuple):
    """What a group committed in a partition: the offset that it reads next, and what it wrote beside it."""

    offset: int
    metadata: str


class TopicLayout(NamedTuple):
    """How many partitions a topic has, and whether each can be read and written."""

    partitions: int
    is_led: bool


def error_of(error: BaseException) -> KafkaError:
    """What the driver said in an exception of its own."""
    found: object = error.args[0] if error.args else None
    return found if isinstance(found, KafkaError) else KafkaError(KafkaError._FAIL, str(error))  # noqa: SLF001 - public in the driver


def make_producer(conf: Conf) -> Producer:
    """Raises KafkaException for a setting that it does not take."""
    return Producer(dict(conf))


def make_consumer(conf: Conf) -> Consumer:
    """Raises KafkaException for a setting that it does not take."""
    return Consumer(dict(conf))


def at(partition: Partition, offset: int = _UNKNOWN, metadata: str | None = None) -> TopicPartition:
    """A partition as the driver names it."""
    if metadata is None:
        return TopicPartition(partition.topic, partition.number, offset)
    return TopicPartition(partition.topic, partition.number, offset, metadata)


def partition_of(found: TopicPartition) -> Partition:
    return Partition(found.topic, found.partition)


class Admin:
    """What is asked of the cluster, beside messages. Everything raises KafkaException once `patience` is over."""

    def __init__(self, conf: Conf, patience: timedelta) -> None:
        self.patience = patience.total_seconds()
        self.native = AdminClient(cast("dict[str, str | int | float | bool]", dict(conf)))

    def brokers(self, wait: float) -> int:
        """How many there are; blocks for at most `wait` seconds. Raises KafkaException when none answers."""
        try:
            return len(self.native.list_topics("__antiphon_ping", wait).brokers)
        finally:
            self.native.poll(0)  # so that whoever listens to errors hears why

    async def names(self) -> Mapping[str, int]:
        """All topics but Kafka's own, and the number of their partitions."""
        found = await asyncio.to_thread(self.native.list_topics, None, self.patience)
        return {name: len(topic.partitions) for name, topic in found.topics.items() if not name.startswith("__")}

    async def layouts(self, names: Collection[str]) -> tuple[Mapping[str, TopicLayout], Mapping[str, KafkaError]]:
        """Of those of these topics that are there; and why others may not be looked at."""
        found: dict[str, TopicLayout] = {}
        denied: dict[str, KafkaError] = {}
        if not names:
            return found, denied
        asked = self.native.describe_topics(TopicCollection(list(names)), request_timeout=self.patience)
        for name, answer in asked.items():
            try:
                topic = await asyncio.wrap_future(answer)
            except KafkaException as error:
                code = error_of(error).code()
                if code in _NOT_FOR_US:
                    denied[name] = error_of(error)
                elif code != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise
            else:
                found[name] = TopicLayout(len(topic.partitions), all(each.leader for each in topic.partitions))
        return found, denied

    async def create(self, topics: Mapping[str, int], replication: int, config: Mapping[str, str]) -> dict[str, str]:
        """Make these with so many partitions each; returns why those that were refused were."""
        new = [NewTopic(name, count, replication, config=dict(config)) for name, count in topics.items()]
        refused: dict[str, str] = {}
        asked = self.native.create_topics(new, request_timeout=self.patience, operation_timeout=self.patience)
        for name, answer in asked.items():
            try:
                await asyncio.wrap_future(answer)
            except KafkaException as error:
                if error_of(error).code() in _PASSING:
                    raise
                if error_of(error).code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    refused[name] = error_of(error).str()
        return refused

    async def settings(self, names: Collection[str]) -> Mapping[str, Mapping[str, str]]:
        """What these topics are set to, whether it was said for them or is the cluster's."""
        if not names:
            return {}
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        asked = self.native.describe_configs(resources, request_timeout=self.patience)
        found: dict[str, Mapping[str, str]] = {}
        for resource, answer in asked.items():
            entries = cast("Mapping[str, ConfigEntry]", await asyncio.wrap_future(answer))
            found[str(resource.name)] = {name: str(entry.value) for name, entry in entries.items()}
        return found

    async def change(self, topic: str, settings: Mapping[str, str]) -> None:
        """Set these of a topic, and leave its others."""
        entries = [
            ConfigEntry(
                name,
                value,
                source=ConfigSource.DYNAMIC_TOPIC_CONFIG,
                incremental_operation=AlterConfigOpType.SET,
            )
            for name, value in settings.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        for answer in self.native.incremental_alter_configs([resource], request_timeout=self.patience).values():
            await asyncio.wrap_future(answer)

    async def starts(self, partitions: Iterable[Partition]) -> Mapping[Partition, int]:
        """The first offset that is there, of those of these that are."""
        return await self._offsets(partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call] # the driver's

    async def ends(self, partitions: Iterable[Partition]) -> Mapping[Partition, int]:
        """The offset of what comes next, past all that is committed, of those of these that are there."""
        return await self._offsets(partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call] # the driver's

    async def since(self, partitions: Iterable[Partition], milliseconds: int) -> Mapping[Partition, int]:
        """The first offset of what arrived since then; left out where nothing did."""
        found = await self._offsets(partitions, OffsetSpec.for_timestamp(milliseconds))
        return {partition: offset for partition, offset in found.items() if offset >= 0}

    async def _offsets(self, partitions: Iterable[Partition], spec: OffsetSpec) -> dict[Partition, int]:
        asked_of = {at(partition): spec for partition in partitions}
        found: dict[Partition, int] = {}
        began, wait = time.monotonic(), _AGAIN
        while asked_of:
            left = began + self.patience - time.monotonic()
            answers = self.native.list_offsets(
                asked_of, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=min(wait, max(left, _LEAST))
            )
            asked_of, moved = {}, set[str]()
            for partition, answer in answers.items():
                try:
                    found[partition_of(partition)] = (await asyncio.wrap_future(answer)).offset
                except KafkaException as error:
                    code = error_of(error).code()
                    if code in SOON_WELL | _PASSING or (code == _NOBODY and time.monotonic() < began + _ELECTION):
                        moved.add(partition.topic)
                        asked_of[TopicPartition(partition.topic, partition.partition)] = spec
                    elif code not in (KafkaError.UNKNOWN_TOPIC_OR_PART, _NOBODY):
                        raise
            if asked_of:
                if left <= 0:
                    raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"nobody leads {', '.join(sorted(moved))}"))  # noqa: SLF001 - public in the driver
                await self._look_anew(next(iter(moved)))
                wait *= 2
        return found

    async def _look_anew(self, topic: str) -> None:
        """The driver goes on asking who led a topic before, until it is made to look."""
        with suppress(KafkaException):
            await asyncio.to_thread(self.native.list_topics, topic, _AGAIN)
        await asyncio.sleep(_PAUSE.total_seconds())

    async def groups(self) -> list[str]:
        """The names of all groups."""
        deadline = time.monotonic() + self.patience
        while True:
            found = await asyncio.wrap_future(self.native.list_consumer_groups(request_timeout=self.patience))
            errors = [each if isinstance(each, KafkaError) else error_of(each) for each in found.errors]
            if not errors or (found.valid and errors[0].code() not in SOON_WELL):
                return sorted(str(each.group_id) for each in found.valid)
            if errors[0].code() not in SOON_WELL or time.monotonic() > deadline:
                raise KafkaException(errors[0])
            await asyncio.sleep(_PAUSE.total_seconds())

    async def owners(self, group: str) -> Mapping[Partition, str] | None:
        """Which member reads which partition; None where it has, or may have, members, and nothing more is known.

        So it is of a group that is sharing out what it reads, of one that a server may look after which does not
        answer, and of any by KIP-848. Asking who a group's members are ends the process when its coordinator is lost
        meanwhile (an assertion in the driver's library). What is asked here is asked of every server.
        """
        try:
            found = await asyncio.to_thread(super(AdminClient, self.native).list_groups, group, self.patience)
        except KafkaException:  # one of the servers is away: whoever asks may not take that for nobody
            found = []
        members = [member for each in found for member in each.members]
        owners = {
            partition: str(member.client_id)
            for member in members
            for partition in assigned(cast("bytes", member.assignment))  # the driver types it as None
        }
        if members:  # who share out what they read at this moment own nothing
            return owners or None
        if all(str(each.state) == _DEAD for each in found) and await self._may_have_members(group):
            return None
        return {}

    async def _may_have_members(self, group: str) -> bool:
        """Whether it has, or a server that may look after it does not answer."""
        try:
            found = await asyncio.wrap_future(self.native.list_consumer_groups(request_timeout=self.patience))
        except KafkaException:
            return True
        states = [each.state for each in found.valid if each.group_id == group]
        return not _WITHOUT_MEMBERS.issuperset(states) if states else bool(found.errors)


_DEAD = "Dead"
"""What a cluster calls a group that it does not have, or that is by KIP-848."""
_WITHOUT_MEMBERS = frozenset({ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD, ConsumerGroupState.UNKNOWN})
_NOT_FOR_US = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.TOPIC_EXCEPTION})
_PASSING = frozenset({KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN})  # noqa: SLF001 - public in the driver


def committed_of(consumer: Consumer, partitions: Collection[Partition], wait: float) -> dict[Partition, Committed]:
    """Where the group of this consumer stands. Raises KafkaException, also for a partition that was not looked up."""
    places: dict[Partition, Committed] = {}
    for each in consumer.committed([at(partition) for partition in partitions], wait):
        if each.error is not None:
            raise KafkaException(each.error)
        if each.offset >= 0:
            places[partition_of(each)] = Committed(each.offset, each.metadata or "")
    return places


def names_of(partitions: Sequence[TopicPartition]) -> list[Partition]:
    return [partition_of(each) for each in partitions]
