"""Promises about answering: a reply follows its commit, a failure is told to whoever asked, and nothing is parked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from msgspec import structs

from antiphon.brokers.ports import Broker, Delivery
from antiphon.errors import NoReplyError, RejectError, RequestFailedError
from antiphon.events.message import Outgoing
from antiphon.observability import names
from antiphon.resilience import Retry
from antiphon.runtime.asking import Asker
from antiphon.runtime.publisher import Publisher
from antiphon.runtime.service import Service
from antiphon.runtime.wrapping import CallNext
from antiphon.storage.database import Transaction
from antiphon.testing.scenarios.asking import LONG, SHORT, AskPrice, AskSuite, Price
from antiphon.testing.scenarios.suite import OrderPlaced, PaymentTaken
from antiphon.testing.scenarios.ways import WRITE

WAYS = ("direct", "plain", "shared", "own")
ONCE_MORE = Retry(immediate=1, delayed=1, first_delay=timedelta(milliseconds=20), jitter=False)

Work = Callable[[AskPrice], None]


def answering(way: str, work: Work) -> Service:
    """A service that writes into its ledger where it can, does the work, and replies."""
    service = Service("pricing", migrations="migrations", policy=ONCE_MORE)
    if way == "direct":

        @service.answers(AskPrice)
        async def quote(ask: AskPrice) -> Price:
            work(ask)
            return Price(ask.product, ask.number)

    elif way == "plain":

        @service.answers(AskPrice)
        def quote_plainly(ask: AskPrice) -> Price:
            work(ask)
            return Price(ask.product, ask.number)

    else:

        @service.answers(AskPrice, transaction="own" if way == "own" else "shared")
        async def quote_and_write(ask: AskPrice, tx: Transaction) -> Price:
            await tx.execute(WRITE, ask.product, ask.number)
            work(ask)
            return Price(ask.product, ask.number)

    return service


class Failing:
    """Work that fails so often, for numbers below 10."""

    def __init__(self, times: int, error: Exception) -> None:
        self.left, self.error = times, error
        self.attempts: list[int] = []

    def __call__(self, ask: AskPrice) -> None:
        self.attempts.append(ask.number)
        if ask.number < 10 and self.left:
            self.left -= 1
            raise self.error


class AnswerScenarios(AskSuite):
    """A service answers, in every way that a handler can be declared."""

    @pytest.mark.parametrize("way", ["shared", "own"])
    async def test_what_a_reply_tells_of_is_committed(self, broker: Broker, way: str) -> None:
        service = answering(way, Failing(0, ValueError()))
        async with self.running(broker, service), self.asking(broker) as asker:
            for number in range(5):
                await asker.ask(AskPrice("tea", number), Price, within=LONG)
                assert await self.store(broker).fetch("select number from ledger order by number", row=int) == [
                    *range(number + 1)
                ]

    @pytest.mark.parametrize("way", WAYS)
    async def test_a_rejected_request_tells_its_asker_and_is_not_parked(self, broker: Broker, way: str) -> None:
        service = answering(way, Failing(1, RejectError("no such product: tea")))
        async with self.running(broker, service), self.asking(broker) as asker:
            with pytest.raises(RequestFailedError, match="no such product: tea") as caught:
                await asker.ask(AskPrice("tea", 1), Price, within=LONG)
            assert await asker.ask(AskPrice("tea", 11), Price, within=LONG) == Price("tea", 11)
            assert await self.parked(broker) == []
            await self.settled(service)
        assert (caught.value.responder, caught.value.error) == ("pricing", "RejectError")
        assert not caught.value.retryable
        if way in ("shared", "own"):
            assert await self.ledger(broker) == ["tea"]

    @pytest.mark.parametrize("way", WAYS)
    async def test_a_request_is_tried_again_before_it_is_given_up(self, broker: Broker, way: str) -> None:
        work = Failing(3, ConnectionError("the catalog is away"))
        service = answering(way, work)
        async with self.running(broker, service), self.asking(broker) as asker:
            with pytest.raises(RequestFailedError, match="ConnectionError: the catalog is away"):
                await asker.ask(AskPrice("tea", 1), Price, within=LONG)
            await self.settled(service)
            assert await self.parked(broker) == []
        assert work.attempts == [1, 1, 1]
        failed = service.metrics.counter(names.REQUESTS_FAILED, handler=_handler(way), error="ConnectionError")
        assert failed.value == 1

    @pytest.mark.parametrize("way", WAYS)
    async def test_a_retry_that_succeeds_in_time_replies(self, broker: Broker, way: str) -> None:
        work = Failing(2, ConnectionError("the catalog is away"))
        async with self.running(broker, answering(way, work)), self.asking(broker) as asker:
            assert await asker.ask(AskPrice("tea", 1), Price, within=LONG) == Price("tea", 1)
        assert work.attempts == [1, 1, 1]

    @pytest.mark.parametrize("way", WAYS)
    async def test_a_late_request_is_dropped_and_counted_and_not_parked(self, broker: Broker, way: str) -> None:
        work = Failing(0, ValueError())
        service = answering(way, work)
        late = self.outgoing(AskPrice("tea", 1))
        late = late._replace(message=structs.replace(late.message, deadline=self.now() - timedelta(seconds=1)))
        async with self.running(broker, service), self.asking(broker) as asker:
            await broker.publish([late])
            await asker.ask(AskPrice("tea", 2), Price, within=LONG)
            await self.settled(service)
            assert await self.parked(broker) == []
        assert work.attempts == [2]
        assert service.metrics.counter(names.DEADLINES_MISSED, handler=_handler(way)).value == 1

    async def test_a_hanging_request_holds_up_no_other_of_its_key(self, broker: Broker) -> None:
        service, held = Service("pricing"), asyncio.Event()

        @service.answers(AskPrice)
        async def quote(ask: AskPrice) -> Price:
            if ask.number == 1:
                await held.wait()
            return Price(ask.product, ask.number)

        async with self.running(broker, service), self.asking(broker) as asker:
            hanging = asyncio.create_task(asker.ask(AskPrice("tea", 1), Price, within=LONG))
            await self.until(lambda: service.metrics.counter(names.REPLIES_SENT, handler="quote").value == 0)
            assert await asker.ask(AskPrice("tea", 2), Price, within=LONG) == Price("tea", 2)
            held.set()
            assert await hanging == Price("tea", 1)

    async def test_what_is_raised_by_a_policy_that_ignores_it_is_told_all_the_same(self, broker: Broker) -> None:
        service = Service("pricing", policy=Retry(ignorable=(KeyError,)))

        @service.answers(AskPrice)
        async def quote(ask: AskPrice) -> Price:
            raise KeyError(ask.product)

        async with self.running(broker, service), self.asking(broker) as asker:
            with pytest.raises(RequestFailedError, match="KeyError"):
                await asker.ask(AskPrice("tea"), Price, within=LONG)

    async def test_a_wrong_reply_is_the_responders_failure(self, broker: Broker) -> None:
        service = Service("pricing")

        @service.answers(AskPrice)
        async def quote(ask: AskPrice) -> Price:
            return PaymentTaken(ask.product)  # type: ignore[return-value] # pyright: ignore[reportReturnType] - it is the mistake

        async with self.running(broker, service), self.asking(broker) as asker:
            with pytest.raises(RequestFailedError, match="UndeclaredEventError"):
                await asker.ask(AskPrice("tea"), Price, within=LONG)

    async def test_who_answers_can_publish_as_well(self, broker: Broker) -> None:
        service, witness = Service("pricing", migrations="migrations"), await self.listen(broker)

        @service.answers(AskPrice, publishes=(PaymentTaken,))
        async def quote(ask: AskPrice, tx: Transaction, publisher: Publisher) -> Price:
            await tx.execute(WRITE, ask.product, ask.number)
            await publisher.publish(PaymentTaken(ask.product, 5))
            return Price(ask.product, 340)

        async with self.running(broker, service), self.asking(broker) as asker:
            reply = await asker.ask_message(AskPrice("tea"), within=LONG)
            (published,) = await self.heard(witness, 1)
        assert (reply.type, reply.source) == ("Price", "pricing")
        assert reply.causation_id == published.causation_id
        assert reply.correlation_id == published.correlation_id == reply.causation_id
        assert reply.id != published.id

    async def test_middleware_sees_the_reply(self, broker: Broker) -> None:
        service, seen = Service("pricing"), list[object]()

        @service.use
        async def watch(delivery: Delivery, call_next: CallNext) -> object:
            found = await call_next()
            seen.append(found)
            return found

        @service.answers(AskPrice)
        async def quote(ask: AskPrice) -> Price:
            return Price(ask.product, 340)

        async with self.running(broker, service), self.asking(broker) as asker:
            await asker.ask(AskPrice("tea"), Price, within=LONG)
        assert seen == [Price("tea", 340)]

    async def test_a_request_that_somebody_published_is_handled_and_replied_to_nobody(self, broker: Broker) -> None:
        work = Failing(0, ValueError())
        service = answering("direct", work)
        async with self.running(broker, service):
            await self.place(broker, AskPrice("tea", 3))
            await self.until(lambda: work.attempts == [3])
            await self.settled(service)
        assert service.metrics.counter(names.REPLIES_SENT, handler="quote").value == 0

    async def test_an_address_that_is_none_of_a_reply_box_is_not_written_to(self, broker: Broker) -> None:
        """Whoever may publish a request must not choose where its reply is written."""
        work, witness = Failing(0, ValueError()), await self.listen(broker)
        service = answering("direct", work)
        topic, message = self.outgoing(AskPrice("tea", 3))
        async with self.running(broker, service), self.asking(broker) as asker:
            for address in ("payments", "payments#1", "_INBOX", "$SYS.REQ", "antiphon"):
                forged = structs.replace(message, id=f"forged-{address}", extensions={"replyto": address})
                await broker.publish([Outgoing(topic, forged)])
            assert await asker.ask(AskPrice("tea", 4), Price, within=LONG) == Price("tea", 4)
            await self.assert_silent(witness)

    async def test_a_deadline_of_what_is_handled_bounds_what_is_asked(self, broker: Broker) -> None:
        shop, held = Service("shop"), asyncio.Event()
        errors: list[BaseException] = []
        responder = Service("pricing")

        @responder.answers(AskPrice)
        async def quote(ask: AskPrice) -> Price:
            await held.wait()
            return Price(ask.product, 1)

        @shop.on(OrderPlaced)
        async def take(order: OrderPlaced, asker: Asker) -> None:
            try:
                await asker.ask(AskPrice(order.order_id), Price, within=LONG)
            except NoReplyError as error:
                errors.append(error)

        topic, message = self.outgoing(OrderPlaced("tea"))
        async with self.running(broker, responder, shop):
            await broker.publish([Outgoing(topic, structs.replace(message, deadline=self.now() + 2 * SHORT))])
            await self.until(lambda: errors)
            held.set()


def _handler(way: str) -> str:
    return {"direct": "quote", "plain": "quote_plainly"}.get(way, "quote_and_write")
