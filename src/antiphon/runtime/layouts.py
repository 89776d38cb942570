"""Which outbox is meant by the name of its layout, or by the option `outbox=`?"""

from __future__ import annotations

from typing import Literal, cast, get_args

from antiphon.errors import DeclarationError, SettingsError
from antiphon.storage.outboxes import OutboxTable

Layout = Literal["own", "debezium", "wal"]
LAYOUTS: tuple[str, ...] = get_args(Layout)


def outbox_of(layout: str, table: str | None = None, topics: str | None = None) -> OutboxTable | None:
    """The outbox of this layout; None for Antiphon's own. Raises SettingsError."""
    # Each is loaded where it is meant: most applications have Antiphon's own.
    if layout == "debezium":
        from antiphon.storage.debezium_outbox import DebeziumOutbox

        return DebeziumOutbox(table or "outbox", topics=topics or DebeziumOutbox.TOPICS)
    if layout not in LAYOUTS:
        raise SettingsError(f"{layout!r} is no layout of an outbox: it is one of {', '.join(LAYOUTS)}")
    if table is not None or topics is not None:
        raise SettingsError(f"an outbox of the layout {layout!r} has no table or topics to choose: leave them out")
    if layout == "own":
        return None
    from antiphon.storage.wal_outbox import WalOutbox

    return WalOutbox()


def chosen_outbox(of: str, given: object) -> OutboxTable | None:
    """What is meant by the option `outbox=` of a `Service` or an `Outbox`; None for Antiphon's own.

    Raises DeclarationError for what is neither a layout nor an outbox.
    """
    if isinstance(given, str) and given in LAYOUTS:
        return outbox_of(given)
    if isinstance(given, type) or not hasattr(given, "stage") or not hasattr(given, "buckets"):
        raise DeclarationError(
            f"{of}(..., outbox={given!r}): it is one of {', '.join(map(repr, LAYOUTS))}, or DebeziumOutbox(...)"
        )
    return cast("OutboxTable", given)
