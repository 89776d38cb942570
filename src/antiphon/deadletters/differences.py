"""How is a message's data shown for reading, and what is different in another one?"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import unified_diff

import msgspec

from antiphon.events.message import Message
from antiphon.events.notation import is_json


def pretty(message: Message) -> str:
    """The data over several lines, every digit kept; bytes that are no text as their number and type."""
    if message.data is None:
        return "(tombstone)"
    if is_json(message.content_type):
        try:
            return msgspec.json.format(message.data, indent=2).decode()
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass  # it says that it is JSON and is not
    try:
        return message.data.decode()
    except UnicodeDecodeError:
        return f"({len(message.data)} bytes of {message.content_type or 'unknown content'})"


def differences(before: Message, after: Message, names: tuple[str, str] = ("before", "after")) -> Sequence[str]:
    """A unified diff of the data of two messages, line by line; empty when it reads the same."""
    old, new = pretty(before).splitlines(), pretty(after).splitlines()
    return list(unified_diff(old, new, *names, lineterm=""))
