"""A handler in a transaction of its own: what was handled before takes nothing from what was not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from antiphon import Transaction
from antiphon.brokers.ports import Delivery, Partition
from antiphon.resilience import Breaker
from antiphon.runtime.compiling import stop_at_gates
from antiphon.runtime.declared import Declared
from antiphon.runtime.gates import Gates
from antiphon.runtime.owning import OwnTransaction
from antiphon.runtime.route import Given, HandlerOptions
from antiphon.runtime.surroundings import Surroundings
from antiphon.runtime.work import Work
from antiphon.storage.inbox import Inbox
from antiphon.storage.sqlite import SqliteDatabase
from antiphon.testing.clock import VirtualClock
from tests.unit.runtime import test_gates
from tests.unit.runtime.shop_events import OrderPlaced, a_message, routes_of

REST = timedelta(seconds=30)
BREAKER = Breaker(least=1, rest=REST, trials=1, permit_expiry=timedelta(hours=1))


class Around:
    """As much of a service's surroundings as a message needs that was handled before."""

    def __init__(self, clock: VirtualClock, store: SqliteDatabase) -> None:
        self.clock, self.store, self.inbox = clock, store, Inbox("payments")
        self.stopwatch = clock.monotonic
        watching = test_gates.Around()
        self.gates = Gates(clock, watching, watching)
        self.gates.declare(["orders"], {"orders": BREAKER}, {})
        self.admission = self.gates
        self.done: list[Delivery] = []

    def given(self, work, tx, details, made):
        return Given(work.delivery, tx, None, details)

    def finished(self, delivery):
        self.done.append(delivery)

    repeated = Surroundings.repeated


@pytest.fixture
async def around() -> AsyncIterator[Around]:
    store = SqliteDatabase(":memory:")
    await store.open()
    yield Around(VirtualClock(), store)
    await store.close()


def works(around: Around, count: int) -> list[Work]:
    """For a handler with a transaction of its own, on a topic whose breaker lets one trial through."""

    async def take(order: OrderPlaced, tx: Transaction) -> None:
        await tx.execute("create table ledger (order_id text)")

    declared = Declared("payments")
    declared.add(take, (OrderPlaced,), HandlerOptions(transaction="own"), {})
    routes = routes_of(declared)
    stop_at_gates(routes, around.gates)
    came = [Delivery(Partition("orders", 0), str(number), a_message()) for number in range(count)]
    return [Work(each, routes["orders"]["OrderPlaced"]) for each in came]


async def test_a_trial_that_turns_out_to_be_handled_already_gives_its_permit_back_at_once(around: Around) -> None:
    failed, repeated, other, third = works(around, 4)
    async with around.store.transaction() as tx:
        await around.inbox.mark(tx, [repeated.delivery.message.identity], around.clock.now())
    gate = around.gates.of("orders")
    gate.began(failed.delivery, gate.generation)
    gate.failed(failed.delivery, ConnectionError(), passing=True)
    around.gates.tell(gate)
    await around.clock.advance(REST)
    await OwnTransaction(around, None).run([repeated], tuple)
    assert around.done == [repeated.delivery]
    assert repeated.route.instruments.duplicates.value == 1
    assert not around.gates.has_let_in(repeated)
    assert around.gates.admits(other)
    assert not around.gates.admits(third)
