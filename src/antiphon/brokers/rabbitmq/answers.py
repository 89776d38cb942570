"""What does a server tell of messages and queues?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple


class Received(NamedTuple):
    """One message as it came: its tag on its channel, properties, and body."""

    tag: int
    headers: Mapping[str, object]
    body: bytes
    content_type: str | None
    message_id: str | None
    at: float | None
    """Seconds since 1970, where the sender says when it was sent."""


Take = Callable[[Received], None]


class Depth(NamedTuple):
    """What a queue holds that is handed to nobody, and how many read it."""

    messages: int
    consumers: int
