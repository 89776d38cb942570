"""How a message is shown: as one line for people, as one object for programs."""

from __future__ import annotations

import base64
from datetime import UTC

import msgspec

from antiphon.brokers.ports import Delivery, Partition
from antiphon.events.message import Message
from antiphon.events.notation import is_json
from antiphon.storage.dead_letters import DeadLetter


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
    return {**place, **attributes, **extensions, **_data(message)}


def _data(message: Message) -> dict[str, object]:
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


def letter_lines(letter: DeadLetter) -> list[str]:
    """For people: who gave up what and when, the last error, and where the message lay."""
    message, tried = letter.message, len(letter.attempts)
    when = letter.parked_at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    key = f" {message.key}" if message.key is not None else ""
    last = letter.attempts[-1] if tried else None
    return [
        f"{when}  {letter.group}/{letter.handler}  {message.type}{key}  ({tried} attempt{'s' * (tried != 1)})",
        f"    {last.error}: {' '.join(last.text.split())}" if last else f"    {letter.reason}",
        f"    message {message.id} at {letter.topic}/{letter.partition}@{letter.position}",
    ]
