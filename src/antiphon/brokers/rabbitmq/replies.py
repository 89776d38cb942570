"""Replies on RabbitMQ: a queue for each asker, which belongs to its connection and goes with it."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from uuid import uuid4

from antiphon.brokers.arrivals import Arrivals
from antiphon.brokers.ports import Reply
from antiphon.brokers.rabbitmq.answers import Received
from antiphon.brokers.rabbitmq.codec import Envelope, objection, read, route
from antiphon.brokers.rabbitmq.driver import Lane, Link
from antiphon.brokers.rabbitmq.names import Names
from antiphon.brokers.rabbitmq.outlet import Outlet
from antiphon.brokers.rabbitmq.publishing import is_passing
from antiphon.errors import BrokerError, PublishError, Refusal
from antiphon.events.message import Message

logger = logging.getLogger("antiphon.brokers.rabbitmq")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0


class RabbitReplyBox:
    """As `ReplyBox`; its queue is made again, under the same name, when its connection was lost."""

    def __init__(self, link: Link, names: Names, require_open: Callable[[], object]) -> None:
        self.address = names.replies(uuid4().hex)
        self._link = link
        self._arrivals = Arrivals(require_open)
        self._lost = asyncio.Event()
        self._lane: Lane | None = None
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Take replies. Raises ConnectionLostError, BrokerError."""
        await self._listen()
        self._task = asyncio.create_task(self._keep(), name="antiphon rabbitmq replies")

    async def _listen(self) -> None:
        lane = await self._link.lane()
        try:
            await lane.declare_queue(self.address, {}, exclusive=True)
            await lane.consume(self.address, lambda received: self._take(lane, received), 0)
        except BaseException:
            await lane.close()
            raise
        self._lane = lane
        self._lost.clear()
        lane.watch(self._lost.set)

    async def _keep(self) -> None:
        """Listen again whenever the connection was lost; the server may yet believe in the old one for a while."""
        while True:
            await self._lost.wait()
            if self._lane is not None:
                logger.warning("replies that were on their way are lost: %s", self._lane.why)
            pause, told = _FIRST_PAUSE, ""
            while self._lost.is_set():
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                try:
                    await self._listen()
                except BrokerError as error:
                    if str(error) != told:
                        logger.warning("replies are not heard until this is over: %s", error)
                    told = str(error)

    def _take(self, lane: Lane, received: Received) -> None:
        lane.acknowledge_later(received.tag)
        message, problem = read(
            received.headers, received.body, received.content_type, received.message_id or "", received.at
        )
        if problem is None:  # what is no message replies to nobody
            self._arrivals.put(message)

    async def fetch(self, wait: timedelta) -> Sequence[Message]:
        """As `ReplyBox.fetch`."""
        return await self._arrivals.take(wait)

    async def close(self) -> None:
        """As `ReplyBox.close`."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        if self._lane is not None:
            await self._lane.close()
        self._arrivals.ring()


async def send_replies(outlet: Outlet, names: Names, limit: int, replies: Sequence[Reply]) -> None:
    """As `Replying.reply`."""
    form = re.compile(re.escape(names.replies("")) + "[0-9a-f]{32}")
    refusals: list[Refusal] = []
    sent: list[Reply] = []
    for each in replies:
        reason = objection(each.message, limit)
        if reason is not None:
            refusals.append(Refusal(each.address, each.message.id, reason))
        elif form.fullmatch(each.address):
            sent.append(each)
    # Not mandatory: an asker that is gone has no queue, and its reply is dropped.
    envelopes = [Envelope(route("", address, is_mandatory=False), message, {}) for address, message in sent]
    if envelopes:
        refused = await outlet.send(envelopes)
        for index, reason in refused.items():
            refusals.append(Refusal(sent[index].address, sent[index].message.id, reason, retryable=is_passing(reason)))
    if refusals:
        raise PublishError(refusals)
