"""Asking works as well over ordinary topics, on a broker that has no way of its own for replies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

import pytest

from antiphon.brokers.memory import MemoryBroker, MemoryLogSubscription
from antiphon.brokers.ports import Broker, Subscription
from antiphon.errors import UnsupportedCapabilityError
from antiphon.runtime.asking import Asker
from antiphon.runtime.chance import Chance
from antiphon.runtime.stand_ins import StandIns
from antiphon.testing.scenarios import AnswerScenarios, AskScenarios
from antiphon.testing.simulation.loop import SimulatedLoop
from tests.conformance.test_scenarios import LeapingClock


class TestByTopics(AskScenarios, AnswerScenarios):
    loop_factory = SimulatedLoop
    # A broker in memory forgets no group, and no other way is tried here.
    test_an_asker_leaves_no_position_behind = None  # type: ignore[assignment] # the promise is not made

    @pytest.fixture
    async def broker(self) -> AsyncIterator[Broker]:
        self.time = LeapingClock()
        broker = MemoryBroker(clock=self.time, without=("request_reply",))
        await broker.open()
        yield broker
        await broker.close()
        await broker.database.close()

    def stand_ins(self) -> StandIns:
        return StandIns(clock=self.time, chance=Chance(stopwatch=self.time.monotonic))

    def now(self) -> datetime:
        return self.time.now()

    async def evict(self, broker: Broker, subscription: Subscription) -> None:
        assert isinstance(subscription, MemoryLogSubscription)
        subscription.evict()


@pytest.mark.parametrize(
    "broker", [MemoryBroker(without=("request_reply", "groups")), MemoryBroker("queue", without=("request_reply",))]
)
async def test_where_an_asker_would_leave_something_behind_nobody_can_ask(broker: MemoryBroker) -> None:
    await broker.open()
    with pytest.raises(UnsupportedCapabilityError, match="request-reply"):
        async with Asker(broker, name="shop"):
            pass
    await broker.close()
    await broker.database.close()
