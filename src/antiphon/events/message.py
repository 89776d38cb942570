"""What travels: the frozen envelope around one event's bytes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

from msgspec import Struct

from antiphon.events.ids import identity

ExtensionValue = str | int | bool
NO_EXTENSIONS: Mapping[str, ExtensionValue] = MappingProxyType({})


class Message(Struct, frozen=True, gc=False):  # it can be in no circle, and logs in memory hold millions
    """One event on its way: frozen, its data still encoded.

    `id` is unique per `source`; `time` and `deadline` are in UTC; `data` is None for a tombstone (the entity
    of this key is gone). `correlation_id` names the story, `causation_id` the message that led to this one.
    `traceparent` and `tracestate` are W3C Trace Context. `extensions` are the attributes nobody here knows;
    they survive every hop.
    """

    id: str
    type: str
    time: datetime
    data: bytes | None
    key: str | None = None
    source: str = ""
    schema_version: int = 1
    content_type: str | None = "application/json"
    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    deadline: datetime | None = None
    tenant: str | None = None
    extensions: Mapping[str, ExtensionValue] = NO_EXTENSIONS

    @property
    def identity(self) -> str:
        """What tells it from every other message, of whatever source."""
        return identity(self.id, self.source)


class Outgoing(NamedTuple):
    """A message and the topic it goes to."""

    topic: str
    message: Message
