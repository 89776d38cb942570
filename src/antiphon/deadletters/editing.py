"""How is a dead letter's data mended, so that its handler can take it, and everybody can see who did?"""

from __future__ import annotations

from functools import partial

import msgspec
from msgspec.structs import replace

from antiphon.deadletters.choosing import require_idle
from antiphon.deadletters.readers import Reader
from antiphon.deadletters.turns import in_turn
from antiphon.errors import DeadLetterError, NewerVersionError, SchemaError
from antiphon.events.message import Message
from antiphon.events.notation import is_json
from antiphon.schemas.codec import EventCodec, codec_for
from antiphon.schemas.json_schema import wire_names
from antiphon.storage.database import Database
from antiphon.storage.dead_letters import StoredLetter
from antiphon.storage.letter_changes import Author, put_edit
from antiphon.storage.outbox import OUTBOX_GROUP


def edited_message(letter: StoredLetter, data: bytes, reader: Reader | None, waiting: int = 0) -> Message:
    """What the handler would be given with this data: everything else of the message stays, id and key above all.

    Raises DeadLetterError when `reader` cannot read it, or would see another key; how many are `waiting` behind it is
    only told. Without a reader nothing is checked but that JSON is JSON.
    """
    require_idle(letter)
    edited = replace(letter.current, data=data)
    if reader is None:
        _require_json(edited)
        return edited
    codec: EventCodec[object] = codec_for(reader.event)
    event = _read(letter, edited, reader, codec)
    _require_key(letter, event, codec, waiting)
    return edited


async def edit(store: Database, letter: StoredLetter, edited: Message, author: Author) -> None:
    """Let the handler be given `edited` when the letter is redriven; the message as it came is kept, too.

    Raises DeadLetterError when it was handled, dropped, edited or taken by a redrive since it was read.
    """
    require_idle(letter)
    await _put(store, letter, edited, author)


async def revert(store: Database, letter: StoredLetter, author: Author) -> None:
    """Take all edits back. Raises DeadLetterError as `edit` does, and when there are none."""
    require_idle(letter)
    if letter.edited is None:
        raise DeadLetterError(f"dead letter {letter.id} was never edited, so there is nothing to take back")
    await _put(store, letter, None, author)


async def _put(store: Database, letter: StoredLetter, edited: Message | None, author: Author) -> None:
    if not await in_turn(store, partial(put_edit, letter=letter, edited=edited, author=author)):
        raise DeadLetterError(
            f"dead letter {letter.id} was changed since it was read, or is not parked any more: nothing was "
            "changed; look at it again with antiphon dead-letters show"
        )


def _require_json(message: Message) -> None:
    if not is_json(message.content_type) or message.data is None:
        return
    try:
        msgspec.json.decode(message.data)
    except msgspec.DecodeError as error:
        raise DeadLetterError(
            f"the message says that it is {message.content_type}, and this is not: {error}"
        ) from error


def _read(letter: StoredLetter, edited: Message, reader: Reader, codec: EventCodec[object]) -> object:
    is_refused = reader.group == OUTBOX_GROUP
    who = "whoever handles it" if is_refused else f"handler {reader.handler!r} of group {reader.group!r}"
    try:
        return codec.read(edited, accept_newer=reader.accepts_newer)
    except NewerVersionError as error:
        raise DeadLetterError(f"dead letter {letter.id} cannot be edited for {who}: {error}") from error
    except SchemaError as error:
        reason = getattr(error, "reason", error)
        raise DeadLetterError(
            f"{who} could not read that as {codec.declaration.name}: {reason}: mend the data"
        ) from error


def _require_key(letter: StoredLetter, event: object, codec: EventCodec[object], waiting: int) -> None:
    """Its place in order follows from the key, so a message of another key is another message."""
    declared, message = codec.declaration, letter.letter.message
    if declared.key_field is None or message.key is None:
        return
    key = _key_of(event, codec)
    if key in (message.key, _key_before(letter, codec)):
        return
    field = wire_names(declared.cls).get(declared.key_field, declared.key_field)
    why = "others wait behind this message for its key" if waiting else "its place in the order follows from its key"
    raise DeadLetterError(
        f"{field} is the key of {declared.name} and would become {key!r} instead of {message.key!r}, but {why}: leave "
        "it as it is, or drop this letter and publish a new event"
    )


def _key_of(event: object, codec: EventCodec[object]) -> str | None:
    try:
        return codec.declaration.key_of(event)
    except SchemaError as error:
        raise DeadLetterError(f"{error}: give it the key that it had") from error


def _key_before(letter: StoredLetter, codec: EventCodec[object]) -> str | None:
    """The key that the data had; it may differ from the message's own, when that was given by hand."""
    data = letter.letter.message.data
    try:
        return None if data is None else _key_of(codec.decode(data), codec)
    except Exception:  # noqa: BLE001 - what could not be read has no key to compare with
        return None
