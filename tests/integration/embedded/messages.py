"""Messages for the tests of the log in a file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from antiphon.brokers.ports import Delivery
from antiphon.events.ids import new_id
from antiphon.events.message import Message, Outgoing


def a_message(key: str | None = None, data: bytes | None = b"{}") -> Message:
    return Message(new_id(), "OrderPlaced", datetime.now(UTC), data, key)


def a_batch(topic: str, size: int, data: bytes = b"x" * 200) -> list[Outgoing]:
    """Messages of `size` keys."""
    return [Outgoing(topic, a_message(f"customer-{number}", data)) for number in range(size)]


def ids(deliveries: Sequence[Delivery]) -> list[str]:
    return [delivery.message.id for delivery in deliveries]
