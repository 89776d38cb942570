"""One member's reading, as the event loop sees it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from antiphon.brokers.kafka.client import Admin, KafkaException
from antiphon.brokers.kafka.fitting import Fitting
from antiphon.brokers.kafka.holdings import Holdings
from antiphon.brokers.kafka.leaving import LONGEST_LEAVE
from antiphon.brokers.kafka.places import DONE, SEEKS, Place, offset_of
from antiphon.brokers.kafka.positions import Positions
from antiphon.brokers.kafka.reading import Reader
from antiphon.brokers.kafka.transacting import Transactions, lost_error
from antiphon.brokers.ports import Delivery, Notice, Partition
from antiphon.errors import (
    ClosedError,
    ConnectionLostError,
    PublishError,
    UnknownTopicError,
    UnsupportedCapabilityError,
)
from antiphon.events.message import Outgoing

logger = logging.getLogger("antiphon.brokers.kafka")

_BEAT = 1.0
"""Seconds between two looks for seeks that other processes asked for."""
_CERTAIN = 5
"""Looks in a row after which a topic that is not there is gone, and not late."""


class KafkaSubscription:
    """One member of a group."""

    transactions: Transactions | None = None
    """Where the cluster has them."""
    fitting: Fitting
    """What the topics take to which those write."""

    def __init__(
        self,
        reader: Reader,
        holdings: Holdings,
        bell: asyncio.Event,
        admin: Admin,
        positions: Positions,
        patience: float,
        on_close: Callable[[KafkaSubscription], None],
    ) -> None:
        self._reader, self._holdings, self._bell = reader, holdings, bell
        self._admin, self._positions = admin, positions
        self._patience, self._on_close = patience, on_close
        self._is_closed = False
        self._looks_in_vain = 0
        self._trouble = ""
        self._looking = asyncio.create_task(self._look(), name="antiphon-kafka-seeks")
        reader.start()

    @property
    def group(self) -> str:
        return self._reader.group

    @property
    def native(self) -> object:
        """The driver's consumer. Whoever moves or commits with it does so behind our back."""
        return self._reader.consumer

    async def fetch(self, limit: int, max_bytes: int, wait: timedelta) -> Sequence[Delivery]:
        """As `LogSubscription.fetch`; returns early, empty, when a partition was revoked or lost."""
        self._require_open("fetch")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait.total_seconds()
        await asyncio.sleep(0)  # a reader that never has to wait lets others run
        while not self._is_closed:
            self._bell.clear()
            deliveries = self._holdings.take(limit, max_bytes)
            left = deadline - loop.time()
            if deliveries or self._holdings.take_alarm() or left <= 0:
                return deliveries
            try:
                async with asyncio.timeout(left):
                    await self._bell.wait()
            except TimeoutError:
                continue
        return ()

    async def commit(self, watermarks: Mapping[Partition, str]) -> None:
        """As `LogSubscription.commit`. Raises ConnectionLostError when the cluster does not answer in time."""
        self._require_open("commit")
        moves, lost = self._holdings.sort_out(watermarks)
        if lost:
            self._holdings.void(lost)
        if not moves:
            return
        request = self._reader.commits.ask(moves)
        try:
            async with asyncio.timeout(self._patience):
                await request.done
        except TimeoutError as error:
            raise ConnectionLostError(
                f"a commit of group {self.group!r} was not confirmed within {self._patience:g} s; it is tried again"
            ) from error

    async def commit_with(self, watermarks: Mapping[Partition, str], outgoing: Sequence[Outgoing]) -> None:
        """As `TransactionalSubscription.commit_with`.

        Raises UnsupportedCapabilityError where the cluster has no transactions.
        """
        self._require_open("commit")
        if self.transactions is None:
            raise UnsupportedCapabilityError(
                f"group {self.group!r}", "transactions", "the service that the profile is for does not have them"
            )
        await self.fitting.require(outgoing)
        moves, lost = self._holdings.sort_out(watermarks)
        if lost:
            self._holdings.void(lost)
            raise lost_error(self.group, lost)
        try:
            await self.transactions.commit(self.group, moves, outgoing)
        except PublishError as error:
            await self.fitting.learn_from(error)
            if not self.transactions.is_above(outgoing):
                raise
            await self.fitting.require(outgoing)
            await self.transactions.commit(self.group, moves, outgoing)

    def pause(self, partitions: Sequence[Partition]) -> None:
        """As `LogSubscription.pause`. A partition that is not held is left out."""
        self._holdings.set_paused(partitions, True)

    def resume(self, partitions: Sequence[Partition]) -> None:
        """As `LogSubscription.resume`."""
        self._holdings.set_paused(partitions, False)

    def pause_topic(self, topic: str) -> None:
        """As `LogSubscription.pause_topic`."""
        self._holdings.set_topic_paused(topic, True)

    def resume_topic(self, topic: str) -> None:
        """As `LogSubscription.resume_topic`."""
        self._holdings.set_topic_paused(topic, False)

    def is_before(self, one: str, other: str) -> bool:
        """As `LogSubscription.is_before`."""
        return offset_of(one) < offset_of(other)

    def notices(self) -> Sequence[Notice]:
        """As `LogSubscription.notices`."""
        return self._holdings.take_notices()

    def move(self, places: Mapping[Partition, Place]) -> None:
        """The group was moved there: drop what is held of before. Twice is safe."""
        self._holdings.move(places)

    async def close(self) -> None:
        """As `LogSubscription.close`."""
        if self._is_closed:
            return
        self._is_closed = True
        self._bell.set()
        self._on_close(self)
        self._looking.cancel()
        if not await asyncio.to_thread(self._reader.stop, LONGEST_LEAVE):
            logger.warning("group %s was left without a word: the cluster does not answer", self.group)

    async def _look(self) -> None:
        """Follow seeks that other processes asked for, and tell of topics that are gone."""
        while True:
            await asyncio.sleep(_BEAT)
            trouble = ""
            for look in (self._look_for_missing, self._follow):
                try:
                    await look()
                except KafkaException as error:
                    trouble = str(error)
            if trouble and trouble != self._trouble:
                logger.warning("group %s: seeks are not heard of until this is over: %s", self.group, trouble)
            self._trouble = trouble

    async def _follow(self) -> None:
        commands = await self._positions.committed(self.group + SEEKS, self._holdings.partitions())
        pending = {p: Place(offset, token) for p, (offset, token) in commands.items() if token}
        if not pending:
            return
        with self._holdings.changed:
            followed = {
                partition: DONE
                for partition, place in pending.items()
                if (lane := self._holdings.lanes.get(partition)) is not None
                and lane.token == place.token
                and lane.is_followed
            }
        self.move(pending)
        if followed:
            await self._positions.move(self.group + SEEKS, followed)

    async def _look_for_missing(self) -> None:
        if not self._reader.missing:
            return
        there, denied = await self._admin.layouts(self._reader.missing)
        gone = self._reader.missing - there.keys() - denied.keys()
        self._reader.missing &= gone
        self._looks_in_vain = self._looks_in_vain + 1 if gone else 0
        if gone and self._looks_in_vain >= _CERTAIN:
            self._holdings.report(UnknownTopicError(min(gone)))

    def _require_open(self, tried: str) -> None:
        if self._is_closed:
            raise ClosedError(f"the subscription of group {self.group!r}", tried)
