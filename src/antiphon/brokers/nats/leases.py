"""How are places and leases of what a member holds written, so that nobody writes what another has taken over?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec.structs import replace

from antiphon.brokers.nats.holdings import NatsHoldings, is_current
from antiphon.brokers.nats.reading import Owned, Reader, names
from antiphon.brokers.nats.table import Cursor, Kept, Standing, Table
from antiphon.brokers.nats.topics import StreamInfo, Topic
from antiphon.brokers.ports import NoticeKind, Partition
from antiphon.errors import DataLostError

Change = Callable[[Cursor], Cursor]


class Leases:
    """What one member has written of its group."""

    def __init__(
        self, table: Table, group: str, topics: Sequence[Topic], me: str, held: NatsHoldings, reader: Reader
    ) -> None:
        self._table, self._group, self._me = table, group, me
        self._topics = {topic.name: topic for topic in topics}
        self._held, self._reader = held, reader
        self._writing = asyncio.Lock()

    async def read(self) -> Standing:
        """What is written of the group now."""
        return await self._table.read(self._group, list(self._topics.values()))

    def without_place(self, standing: Standing) -> list[Partition]:
        """The partitions in which the group never was."""
        every = (Partition(topic.name, number) for topic in self._topics.values() for number in range(topic.partitions))
        return [partition for partition in every if partition not in standing.cursors]

    async def make_places(
        self, partitions: Sequence[Partition], infos: Mapping[str, StreamInfo], *, at_end: bool
    ) -> None:
        """Let the group begin in these; where another member was faster, its word counts."""
        places: list[Kept[Cursor]] = []
        for topic, number in partitions:
            info = infos[topic]
            at = info.state.last_seq if at_end else max(0, info.state.first_seq - 1)
            cursor = Cursor(group=self._group, topic=topic, number=number, position=at, seen=at, stream=info.created)
            places.append(Kept(cursor, 0))
        await self._table.write(places)

    def adopt(self, standing: Standing) -> None:
        """Bring what we think we hold in line with the table. Raises DataLostError when there is nothing of it."""
        if missing := [owned.partition for owned in self._held if owned.partition not in standing.cursors]:
            raise DataLostError(
                f"group {self._group!r} has no place any more in {names(missing)}: somebody deleted it, or the server "
                f"lost it: restore the bucket {self._table.name}, or start this process again and seek the group"
            )
        self.drop(NoticeKind.LOST, self._held.void(standing.cursors, self._me))
        mine = [kept for kept in standing.cursors.values() if kept.value.owner == self._me]
        self._gain(kept for kept in mine if self._held.get(kept.value.partition) is None)

    async def claim(self, free: Sequence[Partition], standing: Standing) -> int:
        """Take these over where nobody else was faster; returns of how many that is true."""
        changes: list[Kept[Cursor]] = []
        for partition in free:
            cursor, revision = standing.cursors[partition]
            changes.append(Kept(replace(cursor, owner=self._me, epoch=cursor.epoch + 1), revision))
        acks = await self._table.write(changes)
        won = [Kept(kept.value, ack.sequence) for kept, ack in zip(changes, acks, strict=True) if not ack.code]
        self._gain(won)
        return len(won)

    async def hand_over(self, leaving: Sequence[Owned], seen: Callable[[Owned], int]) -> None:
        """Give these up, and say of each whether everything of it was done."""
        drained = {owned for owned in leaving if owned.is_drained}
        await self.give_up(leaving, seen)
        left = [owned for owned in leaving if self._held.is_held(owned)]
        self.drop(NoticeKind.REVOKED, [owned for owned in left if owned in drained])
        self.drop(NoticeKind.LOST, [owned for owned in left if owned not in drained])

    async def give_up(self, leaving: Sequence[Owned], seen: Callable[[Owned], int]) -> None:
        """Write that nobody reads these, and up to where nothing of each was unread."""
        await self.change({owned: _giving_up(seen(owned)) for owned in leaving})

    async def change(self, changes: Mapping[Owned, Change]) -> list[Owned]:
        """Write these places anew where they are still ours; returns those that are not."""
        async with self._writing:
            failed = await self._try_change(changes)
            if not failed:
                return []
            # Perhaps it was written before, and the confirmation was lost: the lease tells.
            cursors = (await self.read()).cursors
            ours = [owned for owned in failed if is_current(owned, cursors.get(owned.partition), self._me)]
            for owned in ours:
                if cursors[owned.partition].revision > owned.revision:
                    owned.cursor, owned.revision = cursors[owned.partition]
            still = await self._try_change({owned: changes[owned] for owned in ours})
            lost = [owned for owned in failed if owned in still or owned not in ours]
            self.drop(NoticeKind.LOST, [each for each in self._held.void(cursors, self._me) if each not in lost])
            return lost

    def drop(self, kind: NoticeKind, gone: Sequence[Owned]) -> None:
        """Hold these no more, and say why."""
        self._held.drop(kind, gone)
        for owned in gone:
            self._reader.release(owned)

    def _gain(self, gained: Iterable[Kept[Cursor]]) -> None:
        self._held.gain([Owned(self._topics[cursor.topic], cursor, revision) for cursor, revision in gained])

    async def _try_change(self, changes: Mapping[Owned, Change]) -> list[Owned]:
        wanted = [Kept(change(owned.cursor), owned.revision) for owned, change in changes.items()]
        acks = await self._table.write(wanted)
        failed: list[Owned] = []
        for owned, kept, ack in zip(changes, wanted, acks, strict=True):
            if ack.code:
                failed.append(owned)
            else:
                owned.cursor, owned.revision = kept.value, ack.sequence
        return failed


def moving_to(place: int) -> Change:
    """Moves a watermark, never back."""
    return lambda cursor: replace(cursor, position=max(cursor.position, place), seen=max(cursor.seen, place))


def passing_over(place: int, count: int) -> Change:
    """Moves a watermark over messages that nobody read."""
    move = moving_to(place)
    return lambda cursor: replace(move(cursor), skipped=cursor.skipped + count)


def having_seen(place: int) -> Change:
    return lambda cursor: replace(cursor, seen=max(cursor.seen, place))


def _giving_up(seen: int) -> Change:
    see = having_seen(seen)
    return lambda cursor: replace(see(cursor), owner=None)
