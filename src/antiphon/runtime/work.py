"""What lanes carry: a delivery with its route, and the attempts made at it."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from antiphon.brokers.ports import Delivery
from antiphon.events.message import Message
from antiphon.runtime.route import Route
from antiphon.runtime.window import WAITING
from antiphon.storage.dead_letters import Attempt


class Work(Struct, frozen=True, eq=False, gc=False):
    """One delivery on its way to one handler."""

    delivery: Delivery
    route: Route


def read(route: Route, message: Message) -> object:
    """The event in a message; None for a tombstone, where the route takes them. Raises SchemaError."""
    if message.data is None and route.takes_tombstones:
        return None
    return route.codec.read(message, accept_newer=route.newer == "accept")


LONGEST_TEXT = 20_000
"""Characters that are kept of what an error says, and as many of its traceback."""


def attempt_of(error: BaseException, at: datetime) -> Attempt:
    """What is kept of one failed attempt. It can be stored whatever the error says."""
    trace = "".join(traceback.format_exception(error))
    return Attempt(at, type(error).__name__, _storable(_said_by(error)), _storable(trace))


def _said_by(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(it raises an error of its own when it is asked what it says)"


def _storable(text: str) -> str:
    """Its ends, when it is long, and without what UTF-8 cannot hold, such as parts of undecodable file names."""
    left_out = len(text) - LONGEST_TEXT
    if left_out > 0:
        half = LONGEST_TEXT // 2
        text = f"{text[:half]}\n({left_out} characters left out)\n{text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode()


def live(works: Sequence[Work]) -> list[Work]:
    """Those not lost or settled meanwhile."""
    return [work for work in works if work.delivery.state == WAITING]
