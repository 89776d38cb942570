"""Promises about dead letters that are redriven or dropped: they run as they were, and what is behind them goes on."""

from __future__ import annotations

from datetime import timedelta

import pytest

from antiphon.brokers.ports import Broker
from antiphon.deadletters.dropping import drop
from antiphon.deadletters.redrive import Pace, start_redrive
from antiphon.storage.dead_letters import StoredLetter, find
from antiphon.storage.letter_changes import Author
from antiphon.storage.letter_query import LetterQuery
from antiphon.testing.scenarios.suite import OrderPlaced, orders
from antiphon.testing.scenarios.ways import IN_TRANSACTIONS, PARKING, WAYS, FailureSuite, Trying, declare, keeps_order

AT_ONCE = Pace(spacing=timedelta(0))


class RedriveScenarios(FailureSuite):
    """What was parked is looked after by its operators, while the service runs or before it starts."""

    @pytest.mark.parametrize("way", WAYS)
    async def test_what_is_redriven_runs_as_it_was_and_then_what_waits_behind_it_in_order(
        self, broker: Broker, way: str
    ) -> None:
        service, work, witness = self.paying(PARKING), Trying([0], self.now), await self.listen(broker)
        declare(service, way, work)
        async with self.running(broker, service):
            placed = await self.place(broker, *orders(4, keys=1))
            await self.settled(service)
        work.failing.clear()
        await self.redrive(broker)
        async with self.running(broker, service):
            await self.until(lambda: len(work.done) == 4)
            await self.settled(service)
            await self.place(broker, OrderPlaced("order-0", 4))
            await self.settled(service)
        assert work.done == ([0, 1, 2, 3, 4] if keeps_order(broker) else [1, 2, 3, 0, 4])
        causes = {message.causation_id for message in await self.heard(witness, 5)}
        assert "batch" in way or causes >= {message.id for message in placed}
        assert await self.numbers(broker) == (work.done if way in IN_TRANSACTIONS else [])
        assert await self.aside(broker) == {}

    @pytest.mark.parametrize("way", WAYS)
    async def test_what_fails_again_is_parked_again_with_every_attempt_and_keeps_its_line(
        self, broker: Broker, way: str
    ) -> None:
        service, work = self.paying(PARKING), Trying([0], self.now)
        declare(service, way, work)
        async with self.running(broker, service):
            await self.place(broker, *orders(3, keys=1))
            await self.settled(service)
        tries = work.tries(0)
        await self.redrive(broker)
        async with self.running(broker, service):
            await self.until(lambda: work.tries(0) > tries)
            await self.until(lambda: self.parked(broker))
            await self.settled(service)
        (letter,) = await self.parked(broker)
        assert [attempt.text for attempt in letter.attempts] == ["number 0 fails"] * 2
        assert letter.attempts[0].time < letter.attempts[1].time
        assert sorted(work.done) == ([] if keeps_order(broker) else [1, 2])
        assert await self.behind(broker, letter) == (2 if keeps_order(broker) else 0)

    @pytest.mark.parametrize("way", WAYS)
    async def test_what_is_dropped_never_runs_again_and_what_waits_behind_it_goes_on(
        self, broker: Broker, way: str
    ) -> None:
        service, work = self.paying(PARKING), Trying([0], self.now)
        declare(service, way, work)
        async with self.running(broker, service):
            await self.place(broker, *orders(4, keys=1))
            await self.settled(service)
        tries = work.tries(0)
        await self.drop(broker)
        async with self.running(broker, service):
            await self.until(lambda: {1, 2, 3} <= set(work.done))
            await self.settled(service)
        assert work.done == [1, 2, 3]
        assert work.tries(0) == tries
        assert await self.aside(broker) == {}

    async def test_of_two_letters_in_a_line_each_holds_up_what_is_behind_it(self, broker: Broker) -> None:
        service, work = self.paying(PARKING), Trying([0, 2], self.now)
        declare(service, "shared", work)
        async with self.running(broker, service):
            await self.place(broker, *orders(5, keys=1))
            await self.settled(service)
            work.failing.discard(0)
            await self.redrive(broker)
            await self.until(lambda: 0 in work.done)
            await self.settled(service)
            await self.until(lambda: self.parked(broker))
            assert sorted(work.done) == ([0, 1] if keeps_order(broker) else [0, 1, 3, 4])
            await self.drop(broker)
            await self.until(lambda: {3, 4} <= set(work.done))
            await self.settled(service)
        assert sorted(work.done) == [0, 1, 3, 4]
        assert await self.aside(broker) == {}

    async def test_what_is_redriven_runs_in_one_of_the_members(self, broker: Broker) -> None:
        work = Trying(range(20), self.now)
        members = [self.paying(PARKING) for _ in range(2)]
        for member in members:
            declare(member, "direct", work)
        async with self.running(broker, *members):
            await self.place(broker, *orders(20))
            await self.settled(*members)
            work.failing.clear()
            await self.redrive(broker)
            await self.until(lambda: len(work.done) >= 20)
            await self.settled(*members)
        assert sorted(work.done) == list(range(20))

    async def letters(self, broker: Broker) -> list[StoredLetter]:
        """Everything parked, as it lies in the store."""
        return await find(self.store(broker), LetterQuery(group="payments"), 100)

    async def redrive(self, broker: Broker) -> None:
        """Send everything parked again."""
        numbers = [letter.number for letter in await self.letters(broker)]
        await start_redrive(self.store(broker), self.clock(), numbers, AT_ONCE, "an operator")

    async def drop(self, broker: Broker) -> None:
        """Drop everything parked."""
        numbers = [letter.number for letter in await self.letters(broker)]
        await drop(self.store(broker), numbers, Author("an operator", self.now()))
