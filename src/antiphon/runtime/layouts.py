"""Which outbox is meant by the name of its layout?"""

from __future__ import annotations

from antiphon.errors import SettingsError
from antiphon.storage.debezium_outbox import DebeziumOutbox
from antiphon.storage.outboxes import OutboxTable
from antiphon.storage.wal_outbox import WalOutbox

LAYOUTS = ("own", "debezium", "wal")


def outbox_of(layout: str, table: str | None = None, topics: str | None = None) -> OutboxTable | None:
    """The outbox of this layout; None for Antiphon's own. Raises SettingsError."""
    if layout == "debezium":
        return DebeziumOutbox(table or "outbox", topics=topics or DebeziumOutbox.TOPICS)
    if layout not in LAYOUTS:
        raise SettingsError(f"{layout!r} is no layout of an outbox: it is one of {', '.join(LAYOUTS)}")
    if table is not None or topics is not None:
        raise SettingsError(f"an outbox of the layout {layout!r} has no table or topics to choose: leave them out")
    return WalOutbox() if layout == "wal" else None
