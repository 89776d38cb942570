"""What every broker promises: subclass `LogConformance` or `QueueConformance` and give it a fixture `broker`.

```python
from collections.abc import AsyncIterator

import pytest

from antiphon.brokers.memory import MemoryBroker
from antiphon.brokers.ports import Broker
from antiphon.testing.conformance.brokers import LogConformance


class TestMine(LogConformance):
    @pytest.fixture
    async def broker(self) -> AsyncIterator[Broker]:
        broker = MemoryBroker()
        await broker.open()
        yield broker
        await broker.close()
```

The hooks of `BrokerSuite` say how its time passes, how a subscription loses its lease, and how it is reopened. There
is nothing to switch off: what a broker does not declare in its capabilities it has to refuse by name.
"""

from __future__ import annotations

from antiphon.testing.conformance.broker_transactions import BrokerTransactionConformance
from antiphon.testing.conformance.durability import DurabilityConformance
from antiphon.testing.conformance.fetching import FetchingConformance
from antiphon.testing.conformance.groups import GroupConformance
from antiphon.testing.conformance.log import (
    LagConformance,
    LogFetchingConformance,
    PausingConformance,
    ReplayConformance,
    WatermarkConformance,
)
from antiphon.testing.conformance.messages import MessageConformance
from antiphon.testing.conformance.publishing import PublishingConformance
from antiphon.testing.conformance.queue import HoldConformance, SettlingConformance
from antiphon.testing.conformance.replying import ReplyConformance
from antiphon.testing.conformance.retention import RetentionConformance
from antiphon.testing.conformance.topic_pauses import LogTopicPauseConformance, TopicPauseConformance
from antiphon.testing.conformance.transactions import TransactionConformance


class BrokerConformance(
    MessageConformance,
    PublishingConformance,
    GroupConformance,
    FetchingConformance,
    TopicPauseConformance,
    TransactionConformance,
    DurabilityConformance,
    ReplyConformance,
):
    """What holds for every broker, whichever way it is consumed."""


class LogConformance(
    LogFetchingConformance,
    WatermarkConformance,
    BrokerTransactionConformance,
    PausingConformance,
    LogTopicPauseConformance,
    LagConformance,
    ReplayConformance,
    RetentionConformance,
    BrokerConformance,
):
    """What holds for every log."""


class QueueConformance(HoldConformance, SettlingConformance, BrokerConformance):
    """What holds for every queue."""
