"""What a broker can do, as a record that the runtime reads, prints and tests."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

MessageLimit = Annotated[int, Meta(ge=1)]
"""How many bytes of data a message may have, as an option of a URL."""


class Capabilities(Struct, frozen=True, kw_only=True):
    """What an adapter offers. The runtime emulates what is missing or refuses at start; it ignores nothing."""

    model: Literal["log", "queue"]
    """How it is consumed: a log moves a watermark, a queue settles each message."""
    durable: bool
    """Whether what publish confirmed survives the end of the process."""
    key_order: bool = False
    """Messages of one key arrive in the order of their publishing."""
    groups: bool = False
    """Several consumer groups each get every message."""
    replay: bool = False
    """A group can seek back to what it has handled."""
    seek_time: bool = False
    """A group can seek to a moment."""
    native_delay: bool = False
    """A settled message can come again after a delay without being held here."""
    native_dead_letters: bool = False
    """The broker itself keeps rejected messages."""
    transactions: bool = False
    """Publishing and settling can be one transaction of the broker's own."""
    store_transactions: bool = False
    """Publishing and settling can join the caller's `Transaction` on the broker's database."""
    dedup_id: bool = False
    """The broker drops a second publish of one id within a window."""
    priority: bool = False
    request_reply: bool = False
    """Replies reach whoever asked by a way of the broker's own, and nothing of it is left behind."""
    headers: bool = False
    """Messages carry headers beside their data."""
    tenancy: bool = False
    max_message_bytes: int | None = None
    """The largest message it takes, or None where there is no limit."""
