"""Where do messages wait that were taken out of the flow: for a retry, behind another of their key, or for good?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from enum import IntEnum
from typing import NamedTuple

import msgspec
from msgspec import Struct

from antiphon.events.ids import repeatable_id
from antiphon.events.message import Message
from antiphon.storage.database import Database, SqlValue, Transaction
from antiphon.storage.envelopes import decode_message, encode_message
from antiphon.storage.moments import moment, time_of
from antiphon.storage.queries import load_queries
from antiphon.storage.texts import kept

_SQL = load_queries("antiphon.storage", "sql/set_aside.sql")

Lane = tuple[str, str]
"""Topic and key: messages that must not overtake each other."""


class Attempt(Struct, frozen=True):
    """One failed attempt: when, the error's class and text, and where it was raised."""

    time: datetime
    error: str
    text: str
    traceback: str = ""


_ATTEMPTS = msgspec.json.Decoder(tuple[Attempt, ...])


class AsideState(IntEnum):
    """Why a message is set aside."""

    DELAYED = 0
    """It is tried again when it is due."""
    BEHIND = 1
    """It waits behind another one of its lane."""
    PARKED = 2
    """It was given up: a dead letter."""


class SetAside(Struct, frozen=True, kw_only=True):
    """A message taken out of the flow, whole: where it lay, what it waits for, and every attempt at it so far.

    `lane` is the key as `kept`, or None where its order is not. `reason` is one word that groups, `fingerprint` is the
    same for the same failures. `since` is when it was set aside.
    """

    message: Message
    topic: str
    partition: int
    position: str
    service: str
    group: str
    handler: str
    lane: str | None
    state: AsideState
    since: datetime
    due_at: datetime | None = None
    attempts: tuple[Attempt, ...] = ()
    reason: str = ""
    fingerprint: str = ""
    code_version: str = ""


class ParkedHead(NamedTuple):
    """A lane that a dead letter blocks, and where that lay."""

    topic: str
    lane: str
    partition: int
    position: str


class Claimed(NamedTuple):
    """A message that was set aside and is in hand again."""

    number: int
    topic: str
    partition: int
    position: str
    lane: str | None
    message: Message
    attempts: tuple[Attempt, ...]
    forgiven: int = 0
    """The first so many attempts count no more, since it was sent again after them."""
    is_redriven: bool = False


def aside_id(message: Message, group: str, handler: str, topic: str, partition: int, position: str) -> str:
    """The id of a message set aside; it follows from these, so that setting aside twice is once."""
    return repeatable_id(message.id, group, f"{handler}\0{topic}\0{position}", partition)


async def set_aside(tx: Transaction, items: Sequence[SetAside]) -> None:
    """Keep these when `tx` commits. One that is kept already, by its id, stays as it is.

    One whose lane holds something waits behind that, even if it was to be delayed; one that is to wait behind nothing
    is due at once.
    """
    if any(item.lane is not None for item in items):
        await take_turn(tx)
    ids = [_id(item) for item in items]
    await tx.execute_many(_SQL["insert"], list(map(_values, ids, items)))
    await tx.execute_many(_SQL["insert_body"], list(map(_body, ids, items)))


async def take_turn(tx: Transaction) -> None:
    """Keep others from changing what is set aside until `tx` ends, where the store has several writers at once.

    Whoever looks at a lane and acts on what it saw must do so first, and so must whoever changes several rows: with
    the turn nobody waits for a row while somebody else waits for one of his.
    """
    await tx.execute(_SQL["take_turn"])


def refuses_late_turns(store: Database) -> bool:
    """Whether a transaction that looked at anything before its turn is refused it when others had theirs meanwhile.

    So it is in the stricter isolations, but not where one writes at a time; there parts are cheap, too.
    """
    return store.isolation != "read-committed" and not store.cheap_savepoints


@asynccontextmanager
async def turn_first(store: Database) -> AsyncGenerator[Transaction]:
    """`async with`: a transaction that takes its turn before all else, and is never refused it, in any isolation."""
    async with store.transaction() as tx:
        if refuses_late_turns(store):
            await tx.execute(_SQL["await_turn"])
        yield tx


class RetryStore:
    """One reader's view of what its group set aside: it claims what is due, and settles what it claimed.

    Many readers may use it at once. A claim names its reader and expires, so that another one takes over what a dead
    one held; whoever settles after that changes nothing and is told.
    """

    def __init__(self, group: str, token: str, hold: timedelta) -> None:
        self.group, self.token, self.hold = group, token, hold
        self._has_turn: Transaction | None = None
        """The last transaction in which the turn was taken here."""

    async def _take_turn(self, tx: Transaction) -> None:
        """As `take_turn`, but once for all that is done here in `tx`, which may be to thousands, one by one."""
        if tx is not self._has_turn:
            await take_turn(tx)
            self._has_turn = tx

    async def blocked(self, store: Database | Transaction, limit: int) -> list[Lane]:
        """The lanes in which something is set aside; at most `limit` of them."""
        return await store.fetch(_SQL["blocked"], self.group, limit, row=tuple[str, str])

    async def blocked_among(self, store: Database | Transaction, lanes: Iterable[Lane]) -> list[Lane]:
        """Those of `lanes` in which something is set aside."""
        return [
            (topic, lane)
            for topic, wanted in _by_topic(lanes).items()
            for lane in await store.fetch(_SQL["blocked_among"], self.group, topic, _json(wanted), row=str)
        ]

    async def parked_heads(self, store: Database | Transaction, lanes: Iterable[Lane]) -> list[ParkedHead]:
        """Where the first one of each of `lanes` lay, for those lanes of which the first one is parked."""
        return [
            head
            for topic, wanted in _by_topic(lanes).items()
            for head in await store.fetch(_SQL["parked_heads"], self.group, topic, _json(wanted), row=ParkedHead)
        ]

    async def next_due(self, store: Database, now: datetime, without: Iterable[str] = ()) -> datetime | None:
        """When the next one is due that nobody holds, but for those of the topics `without`; None: nothing waits."""
        shut = _json(list(without))
        ((due,),) = await store.fetch(_SQL["next_due"], self.group, moment(now), shut, self.token)
        return time_of(due) if isinstance(due, int) else None

    async def is_due(self, store: Database, now: datetime, without: Iterable[str] = ()) -> bool:
        """Whether anything is due, or in anybody's hands, but for these topics."""
        return await store.fetch(_SQL["is_due"], self.group, moment(now), _json(list(without))) == [(1,)]

    async def claim(self, tx: Transaction, now: datetime, limit: int, without: Iterable[str] = ()) -> list[Claimed]:
        """Take some `limit` of what is due, each with those that wait behind it, in order within each lane."""
        await self._take_turn(tx)
        at = moment(now)
        heads = await tx.fetch(_SQL["due"], self.group, at, self.token, _json(list(without)), limit, row=_Head)
        if not heads:
            return []
        chosen = _json(await self._with_followers(tx, heads, limit, at))
        await tx.execute(_SQL["claim"], self.token, at + _microseconds(self.hold), chosen)
        return [_claimed(row) for row in await tx.fetch(_SQL["claimed"], chosen, row=_Row)]

    async def _with_followers(self, tx: Transaction, heads: Sequence[_Head], limit: int, at: int) -> list[int]:
        """Some `limit` numbers: of each head, and of those that wait behind it up to one that is parked or held."""
        numbers = [head.number for head in heads]
        if not await self._has_behind(tx):
            return numbers
        for topic, lanes in _by_topic((head.topic, head.lane) for head in heads if head.lane is not None).items():
            # The heads are among them, so with fewer than these and the limit nothing is left out.
            args = (self.group, topic, _json(lanes), limit + len(lanes), at)
            rows = await tx.fetch(_SQL["in_lanes"], *args, row=_InLane)
            numbers += _behind(rows, {head.number for head in heads})[: max(0, limit - len(numbers))]
        return numbers

    async def extend(self, tx: Transaction, numbers: Sequence[int], now: datetime) -> None:
        """Hold these for another period; one that is not held any more is left out."""
        await self._take_turn(tx)
        until = moment(now) + _microseconds(self.hold)
        await tx.execute(_SQL["extend"], self.group, self.token, until, _json(numbers))

    async def finish(self, tx: Transaction, numbers: Sequence[int]) -> list[int]:
        """They are handled: forget them. Returns those that were still held here; the others are left alone."""
        await self._take_turn(tx)
        return await tx.fetch(_SQL["finish"], self.token, _json(numbers), row=int)

    async def release(self, tx: Transaction, numbers: Sequence[int]) -> None:
        """Let go of these, unhandled; one that is not held any more is left alone."""
        await self._take_turn(tx)
        await tx.execute(_SQL["release"], self.token, _json(numbers))

    async def release_all(self, tx: Transaction, but: Collection[int] = ()) -> None:
        """Let go of everything that this reader holds, but for these."""
        await self._take_turn(tx)
        await tx.execute(_SQL["release_all"], self.group, self.token, _json([*but]))

    async def again(self, tx: Transaction, number: int, item: SetAside) -> bool:
        """Set a claimed one aside again; false, and nothing changed, when it is not held here any more."""
        await self._take_turn(tx)
        changed = await tx.fetch(
            _SQL["again"],
            self.token,
            number,
            item.state,
            _due(item),
            len(item.attempts),
            item.reason,
            item.fingerprint,
            item.code_version,
            item.since.isoformat(),
            item.service,
            item.handler,
            row=int,
        )
        if changed:
            await tx.execute(_SQL["again_body"], _attempts(item), number)
        return bool(changed)

    async def _has_behind(self, tx: Transaction) -> bool:
        """Whether anything of the group waits behind anything: often not, and then no lane need be looked at."""
        return await tx.fetch(_SQL["has_behind"], self.group) == [(1,)]

    async def promote(self, tx: Transaction, lanes: Iterable[Lane], now: datetime) -> None:
        """Let the first of each lane be due now, if it waited behind something that is gone."""
        await self._take_turn(tx)
        if not await self._has_behind(tx):
            return
        for topic, of_topic in _by_topic(lanes).items():
            await tx.execute(_SQL["promote"], self.group, topic, _json(of_topic), moment(now))


async def counts(store: Database | Transaction, group: str) -> dict[AsideState, int]:
    """How many messages of a group are delayed, behind others, and parked."""
    found = dict(await store.fetch(_SQL["counts"], group, row=tuple[int, int]))
    return {state: found.get(state, 0) for state in AsideState}


async def list_waiting(store: Database | Transaction, group: str | None = None, limit: int = 100) -> Sequence[SetAside]:
    """The first `limit` that are delayed or behind others, in the order in which they were set aside.

    Of one group or of all. Their messages are as their handlers will be given them.
    """
    return [_waiting(row) for row in await store.fetch(_SQL["waiting"], group, limit, row=_Waiting)]


async def next_moment(store: Database | Transaction, after: datetime) -> datetime | None:
    """The first moment after this one at which anything that is delayed is due; of all groups."""
    ((due,),) = await store.fetch(_SQL["next_moment"], moment(after))
    return time_of(due) if isinstance(due, int) else None


def _by_topic(lanes: Iterable[Lane]) -> dict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for topic, lane in lanes:
        found[topic].append(lane)
    return found


def _microseconds(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)


def _due(item: SetAside) -> int:
    return moment(item.due_at or item.since)


def _attempts(item: SetAside) -> str:
    return msgspec.json.encode(item.attempts).decode()


def _json(values: Sequence[object]) -> str:
    return msgspec.json.encode(values).decode()


class _Head(NamedTuple):
    number: int
    topic: str
    lane: str | None
    due_at: int


class _InLane(NamedTuple):
    number: int
    lane: str
    state: AsideState
    is_held: bool


def _behind(rows: Sequence[_InLane], heads: Collection[int]) -> list[int]:
    """Those that wait, in order, but for what is behind one that is parked, not due yet, or still in somebody's hands.

    Whoever has it is letting it go: claimed now, by the same reader, it would be let go after it was claimed.
    """
    stopped: set[str] = set()
    found: list[int] = []
    for number, lane, state, is_held in rows:
        is_later = state is AsideState.DELAYED and number not in heads
        if state is AsideState.PARKED or is_later or (state is AsideState.BEHIND and is_held):
            stopped.add(lane)
        elif state is AsideState.BEHIND and lane not in stopped:
            found.append(number)
    return found


class _Row(NamedTuple):
    number: int
    topic: str
    partition: int
    position: str
    lane: str | None
    message: str
    attempts: str
    forgiven: int
    is_redriven: bool


class _Waiting(NamedTuple):
    topic: str
    partition: int
    position: str
    service: str
    group: str
    handler: str
    lane: str | None
    state: AsideState
    due_at: int
    message: str
    attempts: str
    reason: str
    fingerprint: str
    code_version: str
    since: datetime


def _waiting(row: _Waiting) -> SetAside:
    values = row._asdict()
    values["message"] = decode_message(row.message)
    values["attempts"] = _ATTEMPTS.decode(row.attempts)
    is_delayed = row.state is AsideState.DELAYED
    values["due_at"] = time_of(row.due_at) if is_delayed else None
    return SetAside(**values)


def _claimed(row: _Row) -> Claimed:
    message, attempts = decode_message(row.message), _ATTEMPTS.decode(row.attempts)
    return Claimed(*row[:5], message, attempts, row.forgiven, row.is_redriven)


def _id(item: SetAside) -> str:
    return aside_id(item.message, item.group, item.handler, item.topic, item.partition, item.position)


def _body(id: str, item: SetAside) -> tuple[SqlValue, ...]:
    return id, encode_message(item.message), _attempts(item)


def _values(id: str, item: SetAside) -> tuple[SqlValue, ...]:
    return (
        id,
        item.group,
        item.service,
        item.handler,
        item.topic,
        item.partition,
        item.position,
        item.lane,
        item.state,
        _due(item),
        kept(item.message.id),
        kept(item.message.type),
        item.reason,
        item.fingerprint,
        item.code_version,
        item.since.isoformat(),
        len(item.attempts),
    )
