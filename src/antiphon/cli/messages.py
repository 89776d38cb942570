"""How a message is shown: as one line for people, as one object for programs."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import msgspec

from antiphon.brokers.ports import Delivery, Partition
from antiphon.events.message import Message
from antiphon.events.notation import is_json
from antiphon.storage.dead_letters import DeadLetter, RedriveState, StoredLetter
from antiphon.storage.outbox import OUTBOX_GROUP


def message_in_json(delivery: Delivery) -> dict[str, object]:
    """The whole envelope with its place; attributes that are not set are left out. Data that is no JSON is base64."""
    message = delivery.message
    place = {"topic": delivery.partition.topic, "partition": delivery.partition.number, "position": delivery.position}
    attributes = {
        name: value
        for name, value in msgspec.structs.asdict(message).items()
        if name not in {"data", "extensions"} and value not in (None, "")
    }
    extensions = {"extensions": dict(message.extensions)} if message.extensions else {}
    return {**place, **attributes, **extensions, **data_in_json(message)}


def data_in_json(message: Message) -> dict[str, object]:
    """The data as `data` where it is JSON, else as `data_base64`."""
    if message.data is None:
        return {"data": None}
    if is_json(message.content_type):
        try:
            return {"data": msgspec.json.decode(message.data)}
        except msgspec.DecodeError:
            pass  # it says that it is JSON and is not: shown as bytes
    return {"data_base64": base64.b64encode(message.data).decode()}


def message_line(delivery: Delivery) -> str:
    """Time, type, key and data, in one line."""
    message = delivery.message
    when = message.time.astimezone(UTC).strftime("%H:%M:%S.%f")[:-3]
    key = f" {message.key}" if message.key is not None else ""
    return f"{when} {message.type}{key} {_shown(message)}"


def _shown(message: Message) -> str:
    if message.data is None:
        return "(tombstone)"
    try:
        return " ".join(message.data.decode().split())
    except UnicodeDecodeError:
        return f"({len(message.data)} bytes of {message.content_type or 'unknown content'})"


def letter_in_json(letter: DeadLetter) -> dict[str, object]:
    """A dead letter with its whole message and every attempt."""
    place = Delivery(Partition(letter.topic, letter.partition), letter.position, letter.message)
    diagnosis = {name: value for name, value in msgspec.structs.asdict(letter).items() if name != "message"}
    return {**diagnosis, "message": message_in_json(place)}


def stored_in_json(stored: StoredLetter) -> dict[str, object]:
    """As `letter_in_json`, with how it lies in the store, and the data that its handler is given when it was edited."""
    edited = {} if stored.edited is None else {"edited": data_in_json(stored.edited)}
    redrive = {} if stored.redrive is None else _redrive_in_json(stored)
    state = {"number": stored.number, "state": stored.state.name.lower()}
    return {**state, **letter_in_json(stored.letter), **edited, **redrive}


def _redrive_in_json(stored: StoredLetter) -> dict[str, object]:
    failed = stored.redrive_state is RedriveState.FAILED
    return {"redrive": stored.redrive, "redriving": stored.busy is not None, "failed_again": failed}


def letter_lines(letter: DeadLetter, *notes: str) -> list[str]:
    """For people: who gave up what and when, the last error, where the message lay, and how the letter is called."""
    message, tried = letter.message, len(letter.attempts)
    key = f" {message.key}" if message.key is not None else ""
    last = letter.attempts[-1] if tried else None
    noted = ", ".join([attempts(tried), *notes])
    return [
        f"{time_of(letter.parked_at)}  {letter.group}/{letter.handler}  {message.type}{key}  ({noted})",
        f"    {last.error}: {' '.join(last.text.split())}" if last else f"    {letter.reason}",
        f"    message {message.id} {'to' if letter.group == OUTBOX_GROUP else 'at'} {place_of(letter)}",
        f"    id {letter.id}",
    ]


def place_of(letter: DeadLetter) -> str:
    """Where its message lay; of one that never left the outbox, where it was to go."""
    if letter.group == OUTBOX_GROUP:
        return f"{letter.topic}, never published"
    return f"{letter.topic}/{letter.partition}@{letter.position}"


def stored_lines(stored: StoredLetter) -> list[str]:
    """As `letter_lines`, of one in the store."""
    edited = () if stored.edited is None else ("edited",)
    busy = () if stored.busy is None else (f"being redriven by {stored.busy}",)
    failed = (f"failed again in {stored.redrive}",) if stored.redrive_state is RedriveState.FAILED else ()
    return letter_lines(stored.letter, *edited, *busy, *failed)


def attempts(count: int) -> str:
    """How often something was tried, in words."""
    return "1 attempt" if count == 1 else f"{count} attempts"


def time_of(moment: datetime) -> str:
    """A moment for people, who may be anywhere: in UTC, and it says so."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
