"""How do replies reach an asker? By a topic of its name, which a consumer of its own reads without a group.

So nothing of an asker is left on the cluster: it has no position that somebody would have to forget.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from antiphon.brokers.arrivals import Arrivals
from antiphon.brokers.kafka.client import Conf, KafkaError, KafkaException, Record, at, make_consumer
from antiphon.brokers.kafka.delivering import deliveries_of
from antiphon.brokers.kafka.faults import AWAY, BY_TOKEN, DENIED, NOT_IN, fault
from antiphon.brokers.ports import Partition
from antiphon.brokers.reply_topics import new_address, own_of
from antiphon.errors import BrokerError, ClosedError
from antiphon.events.message import Message

logger = logging.getLogger("antiphon.brokers.kafka")

_POLL = 0.1
_AT_ONCE = 1_000
_GOODBYE = 5.0
"""Seconds that closing waits for the thread, which ends after the next poll."""


class KafkaReplyBox:
    """As `ReplyBox`, reading from these ends on. A thread polls; what it hears of its own waits to be fetched.

    To be made outside of the event loop, since the driver may wait for a token. Raises KafkaException.
    """

    def __init__(
        self, conf: Conf, topic: str, ends: Mapping[Partition, int], where: str, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.address = new_address(topic)
        self._where, self._loop, self._by_token = where, loop, conf.get("sasl.mechanism") == BY_TOKEN
        self._arrivals = Arrivals(self._require_open)
        self._trouble: BrokerError | None = None
        self._is_closing = False
        self.on_close: Callable[[KafkaReplyBox], None] = _nobody
        self._consumer = make_consumer({**conf, "error_cb": self._hear})
        self._consumer.assign([at(partition, end) for partition, end in ends.items()])
        self._thread = threading.Thread(target=self._run, name="antiphon-kafka-replies", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._is_closing:
                first = self._consumer.poll(_POLL)
                if first is not None:
                    self._take([first, *self._consumer.consume(_AT_ONCE, 0)])
        except KafkaException as error:
            self._tell(fault(error, self._where, f"read replies to {self.address}"))
        finally:
            self._consumer.close()

    def _take(self, records: Sequence[Record]) -> None:
        for record in records:
            if (error := record.error()) is not None:
                self._hear(error)
                continue
            partition = Partition(record.topic() or "", record.partition() or 0)
            for message in own_of(deliveries_of(partition, [record])[0], self.address):
                self._call(self._arrivals.put, message)

    def _hear(self, error: KafkaError) -> None:
        code = error.code()
        if code == KafkaError._ALL_BROKERS_DOWN or code in NOT_IN | DENIED:  # noqa: SLF001 - public in the driver
            self._tell(fault(error, self._where, f"read replies to {self.address}", by_token=self._by_token))
        elif code not in AWAY:
            logger.warning("replies to %s: %s answers %s", self.address, self._where, error)

    def _tell(self, trouble: BrokerError) -> None:
        """Let the next fetch raise this."""
        self._trouble = trouble
        self._call(self._arrivals.ring)

    def _call(self, callback: Callable[..., object], *given: Message) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *given)
        except RuntimeError:
            return  # the loop has ended, and nobody waits

    async def fetch(self, wait: timedelta) -> Sequence[Message]:
        """As `ReplyBox.fetch`. Raises AccessDeniedError, too."""
        found = await self._arrivals.take(wait)
        if not found and self._trouble is not None:
            trouble, self._trouble = self._trouble, None
            raise trouble
        return found

    def _require_open(self) -> None:
        if self._is_closing:
            raise ClosedError(f"broker {self._where}", "read replies")

    async def close(self) -> None:
        """As `ReplyBox.close`."""
        self._is_closing = True
        self.on_close(self)
        self._arrivals.ring()
        await asyncio.to_thread(self._thread.join, _GOODBYE)


def _nobody(_: KafkaReplyBox) -> None:
    """Nobody wants to know."""
