"""How is a whole message kept in a column? As JSON, and it comes back as it was."""

from __future__ import annotations

from types import MappingProxyType
from typing import cast

import msgspec

from antiphon.events.message import Message

_decoder = msgspec.json.Decoder(Message)


def encode_message(message: Message) -> str:
    """The message as JSON text, its data as base64."""
    return msgspec.json.encode(message, enc_hook=_plain).decode()


def decode_message(text: str) -> Message:
    """The message that `encode_message` was given. Raises msgspec.DecodeError for other text."""
    return _decoder.decode(text)


def _plain(value: object) -> object:
    if isinstance(value, MappingProxyType):
        return dict(cast("MappingProxyType[str, object]", value))
    raise NotImplementedError(f"a message cannot hold a {type(value).__name__}")
