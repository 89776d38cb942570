"""Who asks for something to be done with dead letters?"""

from __future__ import annotations

import getpass

from antiphon.events.clock import SystemClock
from antiphon.storage.letter_changes import Author


def author(by: str | None) -> Author:
    """Who asks, now: `by`, or whoever is logged in."""
    return Author(by or _user(), SystemClock().now())


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no user of this number is known, as in some containers
        return "unknown"
