"""What becomes of what a broker refuses for good? It is parked among the dead letters, and its key waits behind it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from hashlib import blake2b
from uuid import uuid4

import msgspec

from antiphon.events.clock import Clock
from antiphon.events.message import Message, Outgoing
from antiphon.outbox.posting import Posting, Publish, lane_of
from antiphon.storage.database import Database, Transaction
from antiphon.storage.envelopes import decode_message
from antiphon.storage.outbox import OUTBOX_GROUP, Staged, Unreadable, bucket_of
from antiphon.storage.set_aside import AsideState, Attempt, Claimed, RetryStore, SetAside, set_aside, turn_first
from antiphon.storage.texts import kept

RELAY = "relay"
"""What stands for the handler of these."""
LIMIT = 500
HOLD = timedelta(seconds=30)
SOON = timedelta(seconds=1)
"""Between two attempts at what is refused only for now."""
REFUSED, UNREADABLE = "refused", "unreadable"


class Refused:
    """What rests among the dead letters instead of in the outbox. It is published when somebody sends it again."""

    def __init__(self, store: Database, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._retries = RetryStore(OUTBOX_GROUP, uuid4().hex, HOLD)
        self._is_any = True
        """Whether any lane may be blocked."""
        self._suspicions = 0

    async def look(self) -> None:
        """See whether any lane is blocked; until then each batch is asked about."""
        before = self._suspicions
        found = bool(await self._retries.blocked(self._store, 1))
        if before == self._suspicions:  # else the answer may be older than what was blocked meanwhile
            self._is_any = found

    def suspect(self) -> None:
        """Lanes may be blocked that were not: by this one, or by others whose buckets are ours now."""
        self._is_any = True
        self._suspicions += 1

    async def sort(self, batch: Sequence[Staged]) -> tuple[list[Staged], list[Staged]]:
        """Those of a batch that may be published, and those that must wait behind what rests here."""
        lanes = {lane for each in batch if (lane := lane_of(each)) is not None}
        if not self._is_any or not lanes:
            return list(batch), []
        blocked = set(await self._retries.blocked_among(self._store, lanes))
        free = [each for each in batch if lane_of(each) not in blocked]
        return free, [each for each in batch if lane_of(each) in blocked]

    async def keep(
        self,
        tx: Transaction,
        refused: Iterable[tuple[Staged, str, Exception]],
        behind: Iterable[Staged],
        unreadable: Iterable[Unreadable] = (),
    ) -> Sequence[SetAside]:
        """Let these rest here when `tx` commits; returns the new dead letters."""
        now = self._clock.now()
        parked = [self._parked(each, (Attempt(now, type(e).__name__, reason),)) for each, reason, e in refused]
        parked += [self._unreadable(each) for each in unreadable]
        waiting = [self._item(each, AsideState.BEHIND) for each in behind]
        if parked or waiting:  # seen by nobody until the commit, so that whoever looked before it is told again
            self.suspect()
            tx.after_commit(self.suspect)
        # In order of their numbers, so that what follows in a lane follows in here, too.
        await set_aside(tx, sorted([*parked, *waiting], key=lambda item: int(item.position)))
        return parked

    async def retry(self, publish: Publish) -> tuple[Posting, Sequence[SetAside]] | None:
        """Publish what was sent again and is due, and say what is parked anew; None when nothing is due.

        Raises what keeps all from being published.
        """
        now = self._clock.now()
        if not await self._retries.is_due(self._store, now):
            return None
        async with turn_first(self._store) as tx:
            claimed = await self._retries.claim(tx, now, LIMIT)
        posting, staged = Posting(publish), list[Staged]()
        for each in claimed:
            try:
                staged.append(_staged(each, _mended(each)))
            except msgspec.DecodeError as error:
                posting.refused.append((_staged(each, each.message), str(error), error))
        try:
            await posting.run(staged)
        finally:
            async with turn_first(self._store) as tx:
                parked = await self._settle(tx, posting, {each.number: each for each in claimed})
        return posting, parked

    async def _settle(self, tx: Transaction, posting: Posting, claimed: dict[int, Claimed]) -> Sequence[SetAside]:
        now = self._clock.now()
        finished = [each.number for each in posting.published]
        await self._retries.finish(tx, finished)
        await self._retries.promote(tx, {lane for each in posting.published if (lane := lane_of(each))}, now)
        parked: list[SetAside] = []
        for each, reason, error in posting.refused:
            attempts = (*claimed[each.number].attempts, Attempt(now, type(error).__name__, reason))
            item = self._parked(each, attempts)
            if await self._retries.again(tx, each.number, item):
                parked.append(item)
        for each in posting.waiting:
            item = self._item(each, AsideState.DELAYED, claimed[each.number].attempts, delay=SOON)
            await self._retries.again(tx, each.number, item)
        await self._retries.release_all(tx)
        return parked

    def _parked(self, each: Staged, attempts: tuple[Attempt, ...]) -> SetAside:
        return self._item(each, AsideState.PARKED, attempts, REFUSED)

    def _unreadable(self, row: Unreadable) -> SetAside:
        now = self._clock.now()
        message = Message(_stand_in(row.number), UNREADABLE, now, row.text.encode(), content_type=None)
        staged = Staged(row.number, row.bucket, Outgoing(row.topic, message))
        return self._item(staged, AsideState.PARKED, (Attempt(now, "DecodeError", row.reason),), UNREADABLE)

    def _item(
        self,
        each: Staged,
        state: AsideState,
        attempts: tuple[Attempt, ...] = (),
        reason: str = "",
        delay: timedelta = timedelta(),
    ) -> SetAside:
        topic, message = each.outgoing
        now = self._clock.now()
        return SetAside(
            message=message,
            topic=topic,
            partition=each.bucket,
            position=str(each.number),
            service=message.source,
            group=OUTBOX_GROUP,
            handler=RELAY,
            lane=None if message.key is None else kept(message.key),
            state=state,
            since=now,
            due_at=now + delay,
            attempts=attempts,
            reason=reason,
            fingerprint=_fingerprint(topic, attempts) if reason else "",
        )


def _fingerprint(topic: str, attempts: Collection[Attempt]) -> str:
    """The same for what was refused on one topic with one class of error."""
    errors = [attempt.error for attempt in attempts][-1:]
    return blake2b("\0".join([RELAY, topic, *errors]).encode(errors="replace"), digest_size=6).hexdigest()


def _staged(claimed: Claimed, message: Message) -> Staged:
    return Staged(claimed.number, bucket_of(message), Outgoing(claimed.topic, message))


def _stand_in(number: int | str) -> str:
    """The id of what stands for a row that is no message."""
    return f"outbox-{number}"


def _mended(claimed: Claimed) -> Message:
    """What is published: of a row that was no message, the one that it is now. Raises msgspec.DecodeError."""
    message = claimed.message
    if message.type != UNREADABLE or message.id != _stand_in(claimed.position):
        return message
    return decode_message((message.data or b"").decode(errors="replace"))
