"""Promises about asking: who asks gets the reply to its own request in time, or learns why it does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from msgspec import Struct

from antiphon.brokers.ports import Broker, Subscription
from antiphon.errors import (
    AskError,
    ClosedError,
    DecodeError,
    NoReplyError,
    NoResponderError,
    RejectError,
    RequestFailedError,
)
from antiphon.events.declare import Key, event
from antiphon.events.message import Message
from antiphon.observability import names
from antiphon.observability.metrics import Metrics
from antiphon.runtime.asking import Asker
from antiphon.runtime.service import Service
from antiphon.testing.scenarios.suite import OrderPlaced, PaymentTaken, RuntimeSuite

LONG, SHORT = timedelta(seconds=30), timedelta(milliseconds=500)
DRAIN = timedelta(milliseconds=100)
MANY = 200
Handle = Callable[["AskPrice"], Coroutine[object, object, "Price"]]


@event(topic="questions")
class AskPrice(Struct, frozen=True):
    """What does this product cost?"""

    product: Key[str]
    number: int = 0


@event(topic="quotes")
class Price(Struct, frozen=True):
    """A product costs this now."""

    product: Key[str]
    pence: int


def pricing(handle: Handle) -> Service:
    """A service that answers by this."""
    service = Service("pricing")

    @service.answers(AskPrice)
    async def quote(ask: AskPrice) -> Price:
        return await handle(ask)

    return service


async def answered(ask: AskPrice) -> Price:
    """The price is the number."""
    return Price(ask.product, ask.number)


class AskSuite(RuntimeSuite):
    """Tools for scenarios in which somebody asks."""

    @asynccontextmanager
    async def asking(self, broker: Broker, name: str = "shop") -> AsyncGenerator[Asker]:
        """`async with`: an asker, whose metrics are `self.metrics` from then on."""
        self.metrics = Metrics(service=name)
        async with Asker(broker, name=name, clock=self.clock(), metrics=self.metrics) as asker:
            yield asker

    def late(self) -> int:
        """How many replies came when nobody waited for them any more."""
        return self.metrics.counter(names.REPLIES_LATE).value


class AskScenarios(AskSuite):
    """Somebody asks, and somebody answers, or does not."""

    async def test_a_reply_comes_to_whoever_asked(self, broker: Broker) -> None:
        async with self.running(broker, pricing(answered)), self.asking(broker) as asker:
            price = await asker.ask(AskPrice("tea", 340), Price, within=LONG)
        assert price == Price("tea", 340)
        assert self.late() == 0

    async def test_many_requests_at_once_get_each_its_own_reply(self, broker: Broker) -> None:
        async with self.running(broker, pricing(answered)), self.asking(broker) as asker:
            requests = [AskPrice(f"product-{number % 7}", number) for number in range(MANY)]
            found = await asyncio.gather(*(asker.ask(each, Price, within=LONG) for each in requests))
        assert found == [Price(each.product, each.number) for each in requests]

    async def test_two_askers_of_one_name_get_their_own_replies_and_no_others(self, broker: Broker) -> None:
        async with self.running(broker, pricing(answered)), self.asking(broker) as one:
            first = self.metrics
            async with self.asking(broker) as other:
                mine = [one.ask(AskPrice("tea", number), Price, within=LONG) for number in range(20)]
                theirs = [other.ask(AskPrice("tea", 100 + number), Price, within=LONG) for number in range(20)]
                found = await asyncio.gather(*mine, *theirs)
        assert [price.pence for price in found] == [*range(20), *range(100, 120)]
        assert [each.counter(names.REPLIES_LATE).value for each in (first, self.metrics)] == [0, 0]

    async def test_a_slow_responder_is_named_and_its_late_reply_is_dropped_and_counted(self, broker: Broker) -> None:
        held = asyncio.Event()

        async def slow(ask: AskPrice) -> Price:
            if ask.number == 1:
                await held.wait()
            return Price(ask.product, ask.number)

        async with self.running(broker, pricing(slow)), self.asking(broker) as asker:
            with pytest.raises(NoReplyError) as caught:
                await asker.ask(AskPrice("tea", 1), Price, within=SHORT)
            held.set()
            await self.until(lambda: self.late() == 1)
            assert await asker.ask(AskPrice("tea", 2), Price, within=LONG) == Price("tea", 2)
        assert caught.value.readers == ("pricing",)
        assert caught.value.retryable

    async def test_a_missing_responder_is_told_from_a_slow_one(self, broker: Broker) -> None:
        async with self.asking(broker) as asker:
            with pytest.raises(NoResponderError) as caught:
                await asker.ask(AskPrice("tea"), Price, within=SHORT)
        assert "questions" in str(caught.value)
        assert caught.value.retryable

    async def test_a_responder_that_stopped_is_missing(self, broker: Broker) -> None:
        async with self.asking(broker) as asker:
            async with self.running(broker, pricing(answered)):
                await asker.ask(AskPrice("tea"), Price, within=LONG)
            with pytest.raises(NoResponderError):
                await asker.ask(AskPrice("tea"), Price, within=SHORT)

    async def test_a_request_waits_for_a_responder_that_starts_in_time(self, broker: Broker) -> None:
        async with self.asking(broker) as asker:
            asking = asyncio.create_task(asker.ask(AskPrice("tea", 7), Price, within=LONG))
            await self.until(lambda: self._asked(broker))
            async with self.running(broker, pricing(answered)):
                assert await asking == Price("tea", 7)

    async def _asked(self, broker: Broker) -> bool:
        return any(topic.name == "questions" and topic.messages for topic in await broker.topics())

    async def test_another_responder_takes_over_in_time(self, broker: Broker) -> None:
        """The first one hangs, and loses what it holds; whatever it makes of it then is late."""
        held, begun = asyncio.Event(), list[int]()

        async def hanging(ask: AskPrice) -> Price:
            begun.append(ask.number)
            await held.wait()
            return Price(ask.product, -1)

        one, other = pricing(hanging), pricing(answered)
        async with self.asking(broker) as asker, self.running(broker, one, drain=DRAIN):
            asking = asyncio.create_task(asker.ask(AskPrice("tea", 7), Price, within=LONG))
            await self.until(lambda: begun)
            async with self.running(broker, other):
                consumer = one._running.consumer if one._running is not None else None  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - what it holds is taken from it
                assert consumer is not None
                await self._take_away(broker, consumer._subscription)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - as above
                assert await asking == Price("tea", 7)
                held.set()
        assert self.late() <= 1  # who was too slow may not have learned of it, and replies as well

    async def _take_away(self, broker: Broker, subscription: Subscription) -> None:
        if broker.capabilities.model == "log":
            await self.evict(broker, subscription)
        else:  # it would be handed the message again
            await subscription.close()

    async def test_a_reply_of_another_type_is_a_clear_error(self, broker: Broker) -> None:
        async with self.running(broker, pricing(answered)), self.asking(broker) as asker:
            with pytest.raises(DecodeError, match=r"'PaymentTaken'.*its type is 'Price'"):
                await asker.ask(AskPrice("tea"), PaymentTaken, within=LONG)

    async def test_whoever_gives_up_waiting_is_forgotten(self, broker: Broker) -> None:
        held = asyncio.Event()

        async def slow(ask: AskPrice) -> Price:
            await held.wait()
            return Price(ask.product, ask.number)

        async with self.running(broker, pricing(slow)), self.asking(broker) as asker:
            asking = asyncio.create_task(asker.ask(AskPrice("tea"), Price, within=LONG))
            await self.until(lambda: self._asked(broker))
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            held.set()
            await self.until(lambda: self.late() == 1)

    async def test_whoever_waits_when_the_asker_is_closed_is_told(self, broker: Broker) -> None:
        async with self.asking(broker) as asker:
            asking = asyncio.create_task(asker.ask(AskPrice("tea"), Price, within=LONG))
            await self.until(lambda: self._asked(broker))
        with pytest.raises(ClosedError):
            await asking
        with pytest.raises(ClosedError):
            await asker.ask(AskPrice("tea"), Price, within=LONG)

    async def test_an_asker_leaves_no_position_behind(self, broker: Broker) -> None:
        async with self.running(broker, pricing(answered)):
            before = await broker.groups()
            async with self.asking(broker) as asker:
                await asker.ask(AskPrice("tea"), Price, within=LONG)
            await self.until(lambda: self._is_left(broker, before))

    async def _is_left(self, broker: Broker, groups: Sequence[str]) -> bool:
        """A broker may remember the name of a group for a while, but nothing of it."""
        new = [group for group in await broker.groups() if group not in groups]
        return not any([await broker.lag(group) for group in new])

    async def test_a_handler_asks_and_its_request_belongs_to_the_story(self, broker: Broker) -> None:
        requests, shop = list[Message](), Service("shop")
        responder = Service("pricing")

        @responder.answers(AskPrice)
        async def quote(ask: AskPrice, message: Message) -> Price:
            requests.append(message)
            return Price(ask.product, 340)

        @shop.on(OrderPlaced)
        async def take(order: OrderPlaced, asker: Asker) -> PaymentTaken:
            price = await asker.ask(AskPrice(order.order_id), Price, within=LONG)
            return PaymentTaken(order.order_id, price.pence)

        witness = await self.listen(broker)
        async with self.running(broker, responder, shop):
            (order,) = await self.place(broker, OrderPlaced("tea"))
            (paid,) = await self.heard(witness, 1)
        (request,) = requests
        assert request.causation_id == paid.causation_id == order.id
        assert request.correlation_id == paid.correlation_id == order.id
        assert paid.data == b'{"order_id":"tea","number":340}'

    async def test_an_application_asks_in_the_name_of_its_service(self, broker: Broker) -> None:
        shop, requests = Service("shop"), list[Message]()
        responder = Service("pricing")

        @responder.answers(AskPrice)
        async def quote(ask: AskPrice, message: Message) -> Price:
            requests.append(message)
            return Price(ask.product, 340)

        async with self.running(broker, responder, shop):
            assert await shop.asker().ask(AskPrice("tea"), Price, within=LONG) == Price("tea", 340)
        assert requests[0].source == "shop"
        with pytest.raises(ClosedError):
            shop.asker()

    async def test_failures_to_get_a_reply_are_counted_by_what_they_were(self, broker: Broker) -> None:
        async def refusing(ask: AskPrice) -> Price:
            raise RejectError(ask.product)

        async with self.asking(broker) as asker:
            with pytest.raises(AskError):
                await asker.ask(AskPrice("tea"), Price, within=SHORT)
            async with self.running(broker, pricing(refusing)):
                with pytest.raises(RequestFailedError):
                    await asker.ask(AskPrice("tea"), Price, within=LONG)
        counts = [
            self.metrics.counter(names.ASK_FAILURES, topic="questions", error=each).value
            for each in ("NoResponderError", "RequestFailedError")
        ]
        assert counts == [1, 1]
