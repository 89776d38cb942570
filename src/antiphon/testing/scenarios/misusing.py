"""Promises about handlers that do what they should not: it costs nobody else a message, an effect or the lock."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import timedelta

import pytest

from antiphon.brokers.ports import Broker
from antiphon.errors import ClosedError, HandlingError, StoreError, StoreFullError
from antiphon.events.message import Outgoing
from antiphon.resilience import Retry
from antiphon.runtime.publisher import Publisher
from antiphon.runtime.service import Service
from antiphon.runtime.settings import ServiceSettings, Settings
from antiphon.storage.database import Transaction
from antiphon.testing.sabotage import Saboteur
from antiphon.testing.scenarios.suite import OrderPlaced, PaymentTaken, RuntimeSuite, orders

WRITE = "insert into ledger values (?, ?)"
SHORT = timedelta(milliseconds=50)

log = logging.getLogger(__name__)


class MisuseScenarios(RuntimeSuite):
    """For brokers that share their store with the services."""

    @pytest.mark.parametrize("fails", [False, True])
    @pytest.mark.parametrize("own", [False, True])
    async def test_a_transaction_used_after_its_handler_writes_nothing_and_holds_no_lock(
        self, broker: Broker, own: bool, fails: bool
    ) -> None:
        service, gate, left = self.service(), asyncio.Event(), list[asyncio.Task[object]]()

        @service.on(OrderPlaced, transaction="own" if own else "shared")
        async def leave_behind(order: OrderPlaced, tx: Transaction) -> None:
            left.append(asyncio.create_task(_later(gate, tx.execute(WRITE, "too late", 0))))
            if fails:
                raise ValueError("after it began something")

        async with self.running(broker, service):
            await self.place(broker, OrderPlaced("order-1"))
            await self.settled(service)
            gate.set()
            found = await asyncio.gather(*left, return_exceptions=True)
            async with asyncio.timeout(5), self.store(broker).transaction() as tx:
                await tx.execute(WRITE, "others go on", 0)
        assert all(isinstance(error, StoreError) for error in found)
        assert await self.ledger(broker) == ["others go on"]

    async def test_what_is_published_after_its_handler_is_refused(self, broker: Broker) -> None:
        service, gate, left = self.service(), asyncio.Event(), list[asyncio.Task[object]]()
        witness = await self.listen(broker)

        @service.on(OrderPlaced, publishes=(PaymentTaken,))
        async def leave_behind(order: OrderPlaced, publisher: Publisher, tx: Transaction) -> None:
            left.append(asyncio.create_task(_later(gate, publisher.publish(PaymentTaken(order.order_id)))))

        async with self.running(broker, service):
            await self.place(broker, OrderPlaced("order-1"))
            await self.settled(service)
            gate.set()
            (error,) = await asyncio.gather(*left, return_exceptions=True)
        assert isinstance(error, ClosedError)
        await self.heard(witness, 0)

    async def test_statements_side_by_side_begin_one_transaction(self, broker: Broker) -> None:
        service, gate, began = self.service(), asyncio.Event(), list[str]()

        @service.on(OrderPlaced, transaction="own")
        async def take(order: OrderPlaced, tx: Transaction) -> None:
            began.append(order.order_id)
            await gate.wait()
            await asyncio.gather(*(tx.execute(WRITE, order.order_id, number) for number in range(3)))

        async with self.running(broker, service):
            await self.place(broker, *orders(5))
            await self.until(lambda: began)
            async with self.store(broker).transaction():
                gate.set()
                await asyncio.sleep(0.02)
            await self.settled(service)
        assert len(await self.ledger(broker)) == 15

    async def test_a_message_handled_before_stays_so_whoever_hears_of_it(self, broker: Broker) -> None:
        """A group of tasks wraps what it raises."""
        service = self.service()

        @service.on(OrderPlaced, transaction="own")
        async def take(order: OrderPlaced, tx: Transaction) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(tx.execute(WRITE, order.order_id, order.number))

        async with self.running(broker, service):
            twin = self.outgoing(OrderPlaced("order-1"))
            await broker.publish([twin, twin, self.outgoing(OrderPlaced("order-2"))])
            await self.settled(service)
        assert sorted(await self.ledger(broker)) == ["order-1", "order-2"]
        assert await self.parked(broker) == []

    @pytest.mark.parametrize("mode", ["none", "plain", "shared", "own"])
    async def test_whatever_an_error_says_its_message_is_parked(self, broker: Broker, mode: str) -> None:
        service = self.service()
        _failing(service, mode)
        async with self.running(broker, service):
            await self.place(broker, *orders(4))
            await self.settled(service)
        letters = await self.parked(broker)
        assert sorted(letter.reason for letter in letters) == ["MuteError", "ValueError", "ValueError"]
        assert all(len(attempt.text) < 100_000 for letter in letters for attempt in letter.attempts)

    @pytest.mark.parametrize("mode", ["none", "shared", "own"])
    async def test_who_hides_that_the_drain_cancelled_it_is_repeated(self, broker: Broker, mode: str) -> None:
        """What it did is not known to be done, whatever it returns."""
        service, began = self.service(), list[str]()

        async def work(order: OrderPlaced) -> None:
            began.append(order.order_id)
            if len(began) == 1:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    log.info("goes on as if nothing were")

        _with_transaction(service, mode, work)
        async with self.running(broker, service, drain=SHORT):
            await self.place(broker, OrderPlaced("order-1"))
            await self.until(lambda: began)
        assert await self.ledger(broker) == []
        async with self.running(broker, service):
            await self.settled(service)
        assert began == ["order-1"] * 2
        assert await self.ledger(broker) == ([] if mode == "none" else ["order-1"])

    @pytest.mark.parametrize("mode", ["none", "shared", "own"])
    async def test_who_cannot_be_cancelled_is_left_behind_and_told(
        self, broker: Broker, mode: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        service, began, held = self.service(), list[str](), asyncio.Event()

        async def work(order: OrderPlaced) -> None:
            began.append(order.order_id)
            while len(began) == 1 and not held.is_set():
                try:
                    await held.wait()
                except asyncio.CancelledError:
                    log.info("goes on")

        _with_transaction(service, mode, work)
        settings = Settings(common=ServiceSettings(broker=broker.url, drain_timeout=SHORT))
        await service.start(broker, settings, None, self.beside(broker))
        await self.place(broker, OrderPlaced("order-1"))
        await self.until(lambda: began)
        async with asyncio.timeout(10):
            await service.stop()
        assert "cannot be canceled" in caplog.text
        held.set()
        await asyncio.sleep(0.05)
        async with self.running(broker, service):
            await self.settled(service)
        assert began == ["order-1"] * 2
        assert await self.ledger(broker) == ([] if mode == "none" else ["order-1"])

    async def test_a_cancellation_that_was_not_taken_back_stops_no_lane(self, broker: Broker) -> None:
        """Older libraries cancel the task for their timeouts and never say that they took care of it."""
        service, taken = Service("payments", policy=Retry(delayed=0), concurrency=1), list[int]()

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced) -> None:
            if order.number == 0:
                await _old_timeout()
            if order.number == 1:
                never = asyncio.get_running_loop().create_future()
                never.cancel()
                await never
            taken.append(order.number)

        async with self.running(broker, service):
            await self.place(broker, *await self.neighbors(broker, 4))
            await self.settled(service)
        assert taken == [0, 2, 3]
        (letter,) = await self.parked(broker)
        assert letter.reason == HandlingError.__name__

    @pytest.mark.parametrize("own", [False, True])
    @pytest.mark.parametrize("hidden", [False, True])
    async def test_a_full_disk_is_waited_for_whatever_the_handler_makes_of_it(
        self, broker: Broker, hidden: bool, own: bool
    ) -> None:
        # Each one more takes twice as long to come: three are more than a policy of one attempt allows.
        service = Service("payments", migrations="migrations", policy=Retry(immediate=0, delayed=0))
        attempts = list[int]()

        @service.on(OrderPlaced, transaction="own" if own else "shared")
        async def take(order: OrderPlaced, tx: Transaction) -> None:
            attempts.append(order.number)
            try:
                await tx.execute(
                    "pragma max_page_count = 1" if len(attempts) < 4 else "pragma max_page_count = 1000000"
                )
                await tx.execute(WRITE, "x" * 200_000, order.number)
            except StoreError as error:
                if not hidden:
                    raise ValueError("as a library of the user's would") from error

        async with self.running(broker, service):
            await self.place(broker, OrderPlaced("order-1"))
            await self.settled(service)
        assert len(await self.ledger(broker)) == 1
        assert await self.parked(broker) == []

    async def test_a_full_disk_met_by_a_publisher_is_waited_for(self, broker: Broker) -> None:
        service, stage, witness = Service("payments"), Full(broker), await self.listen(broker)

        @service.on(OrderPlaced, publishes=(PaymentTaken,))
        async def take(order: OrderPlaced, publisher: Publisher) -> None:
            await publisher.publish(PaymentTaken(order.order_id))

        async with self.running(stage, service):
            stage.is_full = True
            await self.place(broker, *orders(10))
            await self.until(lambda: stage.refused >= 20)
            stage.is_full = False
            await self.settled(service)
        assert await self.parked(broker) == []
        await self.heard(witness, 10)


class Full(Saboteur):
    """Has no room for a while."""

    is_full = False
    refused = 0

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        if self.is_full:
            self.refused += 1
            raise StoreFullError("no room")
        await super().publish(outgoing)


class MuteError(Exception):
    """Cannot even say what it is."""

    def __str__(self) -> str:
        raise ValueError("it has no text")


async def _later(gate: asyncio.Event, work: Coroutine[object, object, object]) -> None:
    await gate.wait()
    await work


async def _old_timeout() -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_soon(task.cancel)
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        log.info("as a timeout: nobody is told that the cancellation is over")


def _fail(order: OrderPlaced) -> None:
    if order.number == 0:
        raise ValueError("a file named \udcff")
    if order.number == 1:
        raise MuteError
    if order.number == 2:
        raise ValueError("x" * 1_000_000)


def _failing(service: Service, mode: str) -> None:
    if mode == "plain":

        @service.on(OrderPlaced)
        def plain(order: OrderPlaced) -> None:
            _fail(order)
    elif mode == "none":

        @service.on(OrderPlaced)
        async def simple(order: OrderPlaced) -> None:
            _fail(order)
    else:

        @service.on(OrderPlaced, transaction="own" if mode == "own" else "shared")
        async def writing(order: OrderPlaced, tx: Transaction) -> None:
            _fail(order)


def _with_transaction(service: Service, mode: str, work: Callable[[OrderPlaced], Awaitable[None]]) -> None:
    if mode == "none":

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced) -> None:
            await work(order)
    else:

        @service.on(OrderPlaced, transaction="own" if mode == "own" else "shared")
        async def write(order: OrderPlaced, tx: Transaction) -> None:
            await tx.execute(WRITE, order.order_id, order.number)
            await work(order)
