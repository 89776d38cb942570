"""What lanes carry: a delivery with its route, and the attempts made at it."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from antiphon.brokers.ports import Delivery
from antiphon.events.message import Message
from antiphon.runtime.route import Route
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


def attempt_of(error: BaseException, at: datetime) -> Attempt:
    """What is kept of one failed attempt."""
    text = "".join(traceback.format_exception(error))
    return Attempt(at, type(error).__name__, str(error), text)


def live(works: Sequence[Work]) -> list[Work]:
    """Those not lost or settled meanwhile."""
    return [work for work in works if work.delivery.state == 0]
