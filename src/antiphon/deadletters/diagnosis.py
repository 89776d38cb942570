"""How does a dead letter keep its diagnosis where only a message fits: in a broker's own dead-letter queue?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from antiphon.events.message import Message
from antiphon.storage.dead_letters import DeadLetter
from antiphon.storage.set_aside import Attempt

EXTENSION = "deadletter"
"""The extension of the message that holds the diagnosis, as JSON."""
MOST = 32 * 1024
"""Bytes of it, at most, since brokers bound their headers."""
_END_OF_TRACEBACK, _TEXT, _FEW = 2_000, 500, 10


class Diagnosis(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that is known of a dead letter besides its message."""

    topic: str
    partition: int
    position: str
    service: str
    group: str
    handler: str
    attempts: tuple[Attempt, ...]
    reason: str
    fingerprint: str
    code_version: str
    parked_at: datetime
    lane: str | None = None


_decoder = msgspec.json.Decoder(Diagnosis)


def with_diagnosis(letter: DeadLetter, most: int = MOST) -> Message:
    """The letter's message with its diagnosis in an extension of at most some `most` bytes."""
    fields = {name: getattr(letter, name) for name in Diagnosis.__struct_fields__}
    written = _written(Diagnosis(**fields), most)
    return replace(letter.message, extensions={**letter.message.extensions, EXTENSION: written})


def without_diagnosis(message: Message) -> Message:
    """The message as it was before it was given up."""
    if EXTENSION not in message.extensions:
        return message
    return replace(message, extensions={k: v for k, v in message.extensions.items() if k != EXTENSION})


def diagnosed(message: Message) -> DeadLetter | None:
    """The dead letter that `with_diagnosis` made this message of; None for a message without, or one that is broken."""
    written = message.extensions.get(EXTENSION)
    if not isinstance(written, str):
        return None
    try:
        diagnosis = _decoder.decode(written)
    except msgspec.DecodeError:
        return None
    return DeadLetter(message=without_diagnosis(message), **msgspec.structs.asdict(diagnosis))


def _written(diagnosis: Diagnosis, most: int) -> str:
    """As JSON, with as much of the attempts as fits."""
    written = b""
    for attempts in _shorter_and_shorter(diagnosis.attempts):
        written = msgspec.json.encode(replace(diagnosis, attempts=attempts))
        if len(written) <= most:
            break
    return written.decode()


def _shorter_and_shorter(attempts: tuple[Attempt, ...]) -> Iterator[tuple[Attempt, ...]]:
    """All of it; then the last traceback only; then the end of that; then none, and the beginnings of some texts."""
    yield attempts
    bare, last = [replace(each, traceback="") for each in attempts[:-1]], attempts[-1:]
    yield (*bare, *last)
    yield (*bare, *(replace(each, traceback=each.traceback[-_END_OF_TRACEBACK:]) for each in last))
    yield tuple(replace(each, text=each.text[:_TEXT], traceback="") for each in attempts[-_FEW:])
