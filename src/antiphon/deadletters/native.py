"""What of the dead letters lies in the broker's own queues, and how does it get where all the others are?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial

from msgspec.structs import replace

from antiphon.brokers.ports import DONE, Broker, DeadLettering, Delivery, Outcome, Settlement
from antiphon.deadletters.diagnosis import diagnosed
from antiphon.deadletters.turns import in_turn
from antiphon.storage.database import Database
from antiphon.storage.dead_letters import DeadLetter, park
from antiphon.storage.letter_query import LetterQuery

REASON = "rejected"
"""Why the broker keeps one that brings no diagnosis."""
_BACK = Outcome("again", counted=False)
_AT_ONCE, _BROWSED = 500, 1_000


async def native_letters(broker: Broker, query: LetterQuery, limit: int) -> Sequence[DeadLetter]:
    """Up to `limit` of the broker's own dead letters that fit, group by group; nothing is changed."""
    keeper = _keeper(broker)
    if keeper is None:
        return ()
    found: list[DeadLetter] = []
    for group in await _groups(broker, query):
        letters = [_letter(group, kept) for kept in await keeper.read_dead_letters(group, max(limit, _BROWSED))]
        found += [letter for letter in letters if fits(query, letter)]
    return found[:limit]


async def native_of(broker: Broker, beginning: str) -> DeadLetter | None:
    """The one of the broker's own dead letters whose id begins so, if there is just one."""
    found = await native_letters(broker, LetterQuery(ids=(beginning,)), limit=2)
    return found[0] if len(found) == 1 else None


async def adopt(broker: Broker, store: Database, query: LetterQuery) -> int:
    """Move the broker's own dead letters that fit into `store`, where all else can be done with them; returns how many.

    They are dead letters before and after. A crash between leaves them in both places, with one id: repeat it.
    """
    keeper = _keeper(broker)
    if keeper is None:
        return 0
    return sum([await _adopt_of(keeper, store, query, group) for group in await _groups(broker, query)])


async def _adopt_of(keeper: DeadLettering, store: Database, query: LetterQuery, group: str) -> int:
    adopted, others = 0, list[Delivery]()
    try:
        while taken := await keeper.take_dead_letters(group, _AT_ONCE):
            letters = [(delivery, _letter(group, delivery)) for delivery in taken]
            wanted = [(delivery, letter) for delivery, letter in letters if fits(query, letter)]
            others += [delivery for delivery, letter in letters if not fits(query, letter)]
            await in_turn(store, partial(park, letters=[letter for _, letter in wanted]))
            await keeper.settle_dead_letters([Settlement(delivery, DONE) for delivery, _ in wanted])
            adopted += len(wanted)
    finally:
        await keeper.settle_dead_letters([Settlement(delivery, _BACK) for delivery in others])
    return adopted


def fits(query: LetterQuery, letter: DeadLetter) -> bool:
    """Whether a letter that is not in the store fits; ids in `query` may be beginnings."""
    message = letter.message
    has: Mapping[str, str | None] = {
        "group": letter.group,
        "handler": letter.handler,
        "topic": letter.topic,
        "key": letter.lane or message.key,
        "type": message.type,
        "reason": letter.reason,
        "fingerprint": letter.fingerprint,
        "message": message.id,
        "tenant": message.tenant,
    }
    if any(getattr(query, name) not in (None, value) for name, value in has.items()):
        return False
    if query.ids and not any(letter.id.startswith(id.lower()) for id in query.ids):
        return False
    return _fits_in_time(query, letter.parked_at) and _fits_in_words(query, letter)


def _fits_in_time(query: LetterQuery, moment: datetime) -> bool:
    return (query.since is None or query.since <= moment) and (query.until is None or moment < query.until)


def _fits_in_words(query: LetterQuery, letter: DeadLetter) -> bool:
    if query.text is None:
        return True
    return any(query.text.lower() in f"{one.error}: {one.text}".lower() for one in letter.attempts)


def _keeper(broker: Broker) -> DeadLettering | None:
    return broker if broker.capabilities.native_dead_letters and isinstance(broker, DeadLettering) else None


async def _groups(broker: Broker, query: LetterQuery) -> Sequence[str]:
    known = sorted(await broker.groups())
    return known if query.group is None else [group for group in known if group == query.group]


def _letter(group: str, delivery: Delivery) -> DeadLetter:
    known = diagnosed(delivery.message)
    if known is not None:
        return replace(known, group=group, id="")
    return DeadLetter(
        message=delivery.message,
        topic=delivery.partition.topic,
        partition=delivery.partition.number,
        position=delivery.position,
        service=group,
        group=group,
        handler="",
        attempts=(),
        reason=REASON,
        fingerprint=REASON,
        code_version="",
        parked_at=delivery.message.time,
    )
