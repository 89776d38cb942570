"""Promises about rate limits: they hold in whatever span of time, and what waits for its turn loses nothing by it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import ClassVar

import pytest

from antiphon.brokers.ports import Broker
from antiphon.resilience import RateLimit, Retry
from antiphon.testing.scenarios.suite import PaymentTaken, orders
from antiphon.testing.scenarios.ways import PARKING, WAYS, FailureSuite, Trying, declare, keeps_order, of_key

LIMIT = RateLimit(messages=200, burst=3)


class LimitScenarios(FailureSuite):
    """`Service(limit=...)` and `on(..., limit=...)`."""

    slack: ClassVar[timedelta] = timedelta(milliseconds=20)
    """How long it may take from letting a message in until its handler looks at the clock."""

    @pytest.mark.parametrize("way", WAYS)
    async def test_a_rate_limit_holds_in_whatever_span_of_time(self, broker: Broker, way: str) -> None:
        service, work = self.paying(PARKING, limit=LIMIT), Trying([], self.now)
        declare(service, way, work)
        async with self.running(broker, service):
            await self.place(broker, *orders(30, keys=3))
            await self.until(lambda: len(work.done) >= 30)
            await self.settled(service)
        assert sorted(work.done) == list(range(30))
        assert not keeps_order(broker) or all(of_key(work.done, 3, key) == list(range(key, 30, 3)) for key in range(3))
        rate = LIMIT.messages / LIMIT.per.total_seconds()
        for span, count in _spans(sorted(work.times)):
            assert count <= LIMIT.at_once + rate * (span + self.slack).total_seconds()
        assert await self.aside(broker) == {}

    @pytest.mark.parametrize("way", WAYS)
    async def test_attempts_count_although_a_rate_limit_comes_between(self, broker: Broker, way: str) -> None:
        service = self.paying(Retry(immediate=3, delayed=0), limit=RateLimit(messages=100, burst=1))
        work = Trying([0], self.now)
        declare(service, way, work, order=None)
        async with self.running(broker, service):
            await self.place(broker, *orders(5, keys=1))
            await self.until(lambda: self.parked(broker))
            await self.until(lambda: len(work.done) == 4)
        assert [len(letter.attempts) for letter in await self.parked(broker)] == [4]
        assert work.tries(0) <= (5 if "batch" in way else 4)

    async def test_other_topics_are_not_limited(self, broker: Broker) -> None:
        service, work, paid = self.paying(PARKING), Trying([], self.now), list[int]()
        declare(service, "direct", work, limit=RateLimit(messages=1, per=timedelta(hours=1), burst=1))

        @service.on(PaymentTaken)
        async def note(payment: PaymentTaken) -> None:
            paid.append(payment.number)

        async with self.running(broker, service):
            await self.place(broker, *orders(5), *(PaymentTaken(f"order-{number}", number) for number in range(50)))
            await self.until(lambda: len(paid) >= 50)
        assert len(work.done) == 1


def _spans(times: Sequence[datetime]) -> list[tuple[timedelta, int]]:
    """Every span from one of `times` to another, and how many are in it."""
    return [
        (times[last] - times[first], last - first + 1)
        for first in range(len(times))
        for last in range(first, len(times))
    ]
