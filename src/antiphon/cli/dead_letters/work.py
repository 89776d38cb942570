"""What the commands about dead letters work with: the store, and who asks."""

from __future__ import annotations

import getpass

from antiphon.brokers.ports import Broker, StoreBroker
from antiphon.errors import UnsupportedCapabilityError
from antiphon.events.clock import SystemClock
from antiphon.storage.database import Database
from antiphon.storage.letter_changes import Author


def store_of(broker: Broker) -> Database:
    """The database that dead letters rest in. Raises UnsupportedCapabilityError."""
    if not isinstance(broker, StoreBroker):
        raise UnsupportedCapabilityError(f"the broker {broker.url}", "database", "dead letters rest in one")
    return broker.database


def author(by: str | None) -> Author:
    """Who asks, now: `by`, or whoever is logged in."""
    return Author(by or _user(), SystemClock().now())


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no user of this number is known, as in some containers
        return "unknown"
