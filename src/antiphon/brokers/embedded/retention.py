"""When are messages deleted, and by whom?"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import cast

from antiphon.brokers.embedded.appending import first_arrived_since
from antiphon.brokers.embedded.group_commit import GroupCommit
from antiphon.brokers.embedded.life import Duty
from antiphon.brokers.envelope import moment
from antiphon.brokers.places import OFFSET_BITS
from antiphon.errors import AntiphonError
from antiphon.events.clock import Clock
from antiphon.storage.queries import load_queries
from antiphon.storage.sqlite import SqliteDatabase, SqliteTransaction

_SQL = load_queries("antiphon.brokers.embedded", "sql/messages.sql")
_MOST_BY_AGE = 1000
_MOST_BY_SIZE, _RUNS_BY_SIZE = 100, 16

logger = logging.getLogger("antiphon.brokers.embedded")


class Retention:
    """Deletes what a topic need not keep, a bounded step at a time; one process of all on the file does it."""

    def __init__(
        self, database: SqliteDatabase, writes: GroupCommit, clock: Clock, duty: Duty, pause: timedelta
    ) -> None:
        self._database, self._writes, self._clock = database, writes, clock
        self._duty, self._pause = duty, pause.total_seconds()

    async def run(self) -> None:
        """Delete until canceled."""
        try:
            while True:
                await asyncio.sleep(self._pause)
                try:
                    if self._duty.is_ours():
                        await self.delete_all()
                except Exception as error:
                    # Nobody waits for this task, so it would end in silence.
                    known = isinstance(error, AntiphonError)
                    logger.warning("retention waits: %s", error, exc_info=None if known else error)
        finally:
            self._duty.drop()

    async def delete_all(self) -> int:
        """Delete everything that need not be kept now; returns how many messages that was."""
        deleted = 0
        while step := self._next_step():
            count = await self._writes.write(step)
            if not count:
                break
            deleted += count
            await asyncio.sleep(0)  # let others write in between
        return deleted

    def _next_step(self) -> Callable[[SqliteTransaction], int] | None:
        """Look without a lock; what is written is decided again under it."""
        if self._database.read(_SQL["beyond_size"]):
            return _delete_beyond_size
        now = self._clock.now()
        for partition_id, floor, head, keep_for in self._kept_by_age():
            since = now - timedelta(microseconds=keep_for)
            beyond = first_arrived_since(self._database.read, partition_id, floor, head, since)
            if beyond > floor + 1:
                return lambda tx: _delete_up_to(tx, partition_id, min(beyond - 1, floor + _MOST_BY_AGE), floor)
        return None

    def _kept_by_age(self) -> list[tuple[int, int, int, int]]:
        return cast("list[tuple[int, int, int, int]]", self._database.read(_SQL["kept_by_age"]))


def _delete_beyond_size(tx: SqliteTransaction) -> int:
    """Delete the oldest of each topic that holds too much."""
    deleted = 0
    for topic_id, excess in cast("list[tuple[int, int]]", tx.query(_SQL["beyond_size"])):
        for _ in range(_RUNS_BY_SIZE):
            if excess <= 0:
                break
            count, size = _delete_oldest_run(tx, topic_id, excess)
            deleted, excess = deleted + count, excess - size
    return deleted


def _delete_oldest_run(tx: SqliteTransaction, topic_id: int, excess: int) -> tuple[int, int]:
    """Delete from the partition with the oldest message what is older than every other partition's oldest.

    At most what frees `excess` bytes. Returns how many messages and bytes that was.
    """
    oldest, *others = cast("list[tuple[int, int, int, int]]", tx.query(_SQL["oldest_two"], (topic_id,)))
    partition_id, floor, head, arrived = oldest
    last = min(head, floor + _MOST_BY_SIZE)
    if others:
        since = moment(max(arrived, others[0][3]) + 1)
        last = first_arrived_since(tx.query, partition_id, floor, last, since) - 1
    freed = 0
    first = partition_id << OFFSET_BITS | floor
    sizes = cast("list[tuple[int]]", tx.query(_SQL["sizes"], (first, first + last - floor)))
    for offset, (size,) in enumerate(sizes, floor + 1):
        freed += size
        if freed >= excess:
            last = offset
            break
    return _delete_up_to(tx, partition_id, last, floor), freed


def _delete_up_to(tx: SqliteTransaction, partition_id: int, last: int, floor: int) -> int:
    """Delete the offsets after `floor`, up to and with `last`, unless somebody did so meanwhile."""
    first, end = partition_id << OFFSET_BITS | floor, partition_id << OFFSET_BITS | last
    ((size,),) = cast("list[tuple[int]]", tx.query(_SQL["size_of_range"], (first, end)))
    raised = tx.query(_SQL["raise_floor"], (partition_id, floor, last, size))
    if not raised:
        return 0
    tx.send(_SQL["delete_range"], (first, end))
    return last - floor
