"""A service that is used in the wrong order says what is wrong with it, and goes on."""

import pytest

from antiphon import Key, Service, Struct, event
from antiphon.errors import ClosedError, UsageError


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


async def test_a_service_that_runs_is_not_started_again():
    async with Service("payments", broker="memory:///") as payments:
        with pytest.raises(UsageError, match="service 'payments' runs already: stop it"):
            await payments.start()
        await payments.publish(OrderPlaced("o-1"))


async def test_what_needs_a_running_service_says_so():
    payments = Service("payments", broker="memory:///")
    with pytest.raises(ClosedError, match="cannot publish: service 'payments' is not open"):
        await payments.publish(OrderPlaced("o-1"))
