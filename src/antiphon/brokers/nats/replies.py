"""Replies on NATS: an inbox is a subject of its own, which the server keeps nothing of."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from antiphon.brokers.arrivals import Arrivals
from antiphon.brokers.nats.calls import Arrived
from antiphon.brokers.nats.envelope import pack, size_of, unpack
from antiphon.brokers.nats.link import Link, Listening
from antiphon.brokers.ports import Partition, Reply
from antiphon.errors import EncodeError, PublishError, Refusal
from antiphon.events.message import Message

_PREFIX = "_INBOX.antiphon."
_ADDRESS = re.compile(rf"{re.escape(_PREFIX)}[0-9a-f]{{32}}")


class NatsReplyBox:
    """As `ReplyBox`; its subject is listened to again when the connection is back."""

    def __init__(self, require_open: Callable[[], object]) -> None:
        self.address = f"{_PREFIX}{uuid4().hex}"
        self._arrivals = Arrivals(require_open)
        self._listening: Listening | None = None

    async def open(self, link: Link) -> None:
        """Take replies. What is asked after this on the same connection comes later to the server."""
        await link.until_connected()
        self._listening = await link.listen(self.address, self._take)

    async def _take(self, arrived: Arrived) -> None:
        found = unpack(Partition("", 0), 0, arrived.headers, arrived.data, datetime.now(UTC))
        if found.problem is None:  # what is no message replies to nobody
            self._arrivals.put(found.message)

    async def fetch(self, wait: timedelta) -> Sequence[Message]:
        """As `ReplyBox.fetch`."""
        return await self._arrivals.take(wait)

    async def close(self) -> None:
        """As `ReplyBox.close`."""
        if self._listening is not None:
            await self._listening.stop()
        self._arrivals.ring()


async def send_replies(link: Link, replies: Sequence[Reply]) -> None:
    """As `Replying.reply`."""
    await link.until_connected()
    refusals: list[Refusal] = []
    for address, message in replies:
        if not _ADDRESS.fullmatch(address):
            continue
        try:
            headers, body = pack(message, with_id=False)
        except EncodeError as error:
            refusals.append(Refusal(address, message.id, str(error)))
            continue
        if (size := size_of(headers, body)) > link.max_payload:
            reason = f"with its headers it has {size} bytes, more than the {link.max_payload} that the server takes"
            refusals.append(Refusal(address, message.id, reason))
            continue
        await link.send(address, body, headers=headers)
    if refusals:
        raise PublishError(refusals)
