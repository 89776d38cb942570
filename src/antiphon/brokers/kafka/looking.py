"""How is the log read without a group, and how old is what a group has not read?"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from heapq import merge
from itertools import islice
from typing import NamedTuple

from antiphon.brokers.kafka.client import Conf, Consumer, KafkaError, KafkaException, Record, at, make_consumer
from antiphon.brokers.kafka.delivering import deliveries_of
from antiphon.brokers.ports import Delivery, Partition

_AT_ONCE = 1_000
_POLL = 0.1


class Span(NamedTuple):
    """From which offset to read, and before which to stop."""

    start: int
    end: int


class Looker:
    """A consumer that joins no group, made when it is first needed. One reading at a time; it blocks no event loop."""

    def __init__(self, conf: Conf, patience: float) -> None:
        self._conf, self._patience = conf, patience
        self._consumer: Consumer | None = None
        self._turn = threading.Lock()
        self._is_over = False

    async def read(self, spans: Mapping[Partition, Span], limit: int) -> dict[Partition, list[Record]]:
        """Up to `limit` records of each span. Raises KafkaException when the cluster does not answer in time."""
        spans = {partition: span for partition, span in spans.items() if span.start < span.end}
        return await asyncio.to_thread(self._read, spans, limit) if spans and limit > 0 else {}

    async def browse(self, spans: Mapping[Partition, Span], limit: int) -> list[Delivery]:
        """Up to `limit` deliveries of the spans, in order of their timestamps."""
        found = await self.read(spans, limit)
        lanes = [
            zip([record.timestamp()[1] for record in records], deliveries_of(partition, records)[0], strict=True)
            for partition, records in found.items()
        ]
        return [delivery for _, delivery in islice(merge(*lanes, key=lambda pair: pair[0]), limit)]

    async def close(self) -> None:
        """Let go of the consumer, and let whoever reads wait for the cluster no more. Twice is safe."""
        self._is_over = True
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        # In turn: the driver lets nobody close what another thread polls in a loop.
        with self._turn:
            consumer, self._consumer = self._consumer, None
            if consumer is not None:
                consumer.close()

    def _read(self, spans: Mapping[Partition, Span], limit: int) -> dict[Partition, list[Record]]:
        with self._turn:
            self._require_open()
            consumer = self._consumer = self._consumer or make_consumer(self._conf)
            consumer.incremental_assign([at(partition, span.start) for partition, span in spans.items()])
            try:
                return self._collect(consumer, dict(spans), limit)
            finally:
                consumer.unassign()

    def _collect(
        self, consumer: Consumer, open_spans: dict[Partition, Span], limit: int
    ) -> dict[Partition, list[Record]]:
        found: dict[Partition, list[Record]] = {partition: [] for partition in open_spans}
        deadline = time.monotonic() + self._patience
        while open_spans:
            self._require_open()
            first = consumer.poll(_POLL)
            before = tuple(open_spans)
            for record in [first, *consumer.consume(_AT_ONCE, 0)] if first is not None else ():
                _sort_in(record, open_spans, found, limit)
            if done := [at(partition) for partition in before if partition not in open_spans]:
                consumer.incremental_unassign(done)  # or one that is busy would starve the others
            if open_spans and time.monotonic() > deadline:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "reading took too long"))  # noqa: SLF001 - public in the driver
        return found

    def _require_open(self) -> None:
        if self._is_over:
            raise KafkaException(KafkaError(KafkaError._DESTROY, "the broker was closed meanwhile"))  # noqa: SLF001 - public in the driver


def _sort_in(
    record: Record, open_spans: dict[Partition, Span], found: dict[Partition, list[Record]], limit: int
) -> None:
    partition, offset = Partition(record.topic() or "", record.partition() or 0), record.offset() or 0
    span, error = open_spans.get(partition), record.error()
    if error is not None and error.code() not in _ENDS:
        if error.code() not in _IGNORED:
            raise KafkaException(error)
        return
    if span is None:
        return
    if error is None and offset < span.end:
        found[partition].append(record)
    if error is not None or offset + 1 >= span.end or len(found[partition]) >= limit:
        del open_spans[partition]


_ENDS = frozenset({KafkaError._PARTITION_EOF, KafkaError._AUTO_OFFSET_RESET})  # noqa: SLF001 - public in the driver
_IGNORED = frozenset({KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT})  # noqa: SLF001 - as above
