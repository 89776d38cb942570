"""What a handler really gets is derived, and a demand above it is refused."""

from __future__ import annotations

from typing import get_args

import pytest

from antiphon import Key, Publisher, Struct, Transaction, event
from antiphon.brokers.capabilities import Capabilities
from antiphon.brokers.memory import MemoryBroker
from antiphon.errors import GuaranteeError
from antiphon.runtime.guarantees import Derived, Guarantee, demand, derive
from antiphon.runtime.options import Demand
from antiphon.runtime.route import Handler, HandlerOptions
from antiphon.runtime.signature import read_signature
from antiphon.storage.sqlite import SqliteDatabase
from tests.unit.runtime.shop_events import OrderPlaced

FULL = Capabilities(model="log", durable=True, store_transactions=True)
MEMORY = Capabilities(model="log", durable=False, store_transactions=True)
PLAIN = Capabilities(model="log", durable=True)


async def with_transaction(order: OrderPlaced, tx: Transaction) -> None: ...
async def without(order: OrderPlaced) -> None: ...


@event(topic="paid")
class Paid(Struct, frozen=True):
    order_id: Key[str]


async def returning(order: OrderPlaced) -> Paid: ...
async def publishing(order: OrderPlaced, publisher: Publisher) -> None: ...


OTHER = SqliteDatabase(":memory:")


def a_broker(capabilities: Capabilities) -> MemoryBroker:
    class Broker(MemoryBroker):
        @property
        def capabilities(self) -> Capabilities:
            return capabilities

    return Broker()


def handler(function, **options) -> Handler:
    signature = read_signature(function, (OrderPlaced,), {}, batch=False)
    return Handler(function.__name__, function, signature, HandlerOptions(**options))


@pytest.mark.parametrize(
    ("function", "capabilities", "shares", "inbox", "expected", "reason"),
    [
        (with_transaction, FULL, True, True, Guarantee.EFFECTIVELY_ONCE, "the watermark commit together"),
        (with_transaction, MEMORY, True, True, Guarantee.EFFECTIVELY_ONCE, "nothing outlives this process"),
        (with_transaction, FULL, True, False, Guarantee.AT_LEAST_ONCE, "the inbox is off"),
        (with_transaction, FULL, False, True, Guarantee.EFFECTIVELY_ONCE, "what comes again is known by its mark"),
        (with_transaction, PLAIN, True, True, Guarantee.EFFECTIVELY_ONCE, "what comes again is known by its mark"),
        (with_transaction, PLAIN, False, False, Guarantee.AT_LEAST_ONCE, "the inbox is off"),
        (without, FULL, True, True, Guarantee.AT_LEAST_ONCE, "it asks for no Transaction"),
    ],
)
def test_the_guarantee_follows_from_what_broker_store_and_handler_give(
    function, capabilities, shares, inbox, expected, reason
):
    broker = a_broker(capabilities)
    derived = derive(handler(function), broker, broker.database if shares else OTHER, inbox=inbox)
    assert derived.guarantee is expected
    assert reason in derived.reason


@pytest.mark.parametrize("mode", ["shared", "own"])
def test_both_kinds_of_transaction_give_the_same(mode):
    broker = a_broker(FULL)
    derived = derive(handler(with_transaction, transaction=mode), broker, broker.database, inbox=True)
    assert derived.guarantee is Guarantee.EFFECTIVELY_ONCE


def test_a_demand_that_is_met_or_exceeded_is_fine():
    for guarantee in ("at_most_once", "at_least_once"):
        demand(handler(without, guarantee=guarantee), Derived(Guarantee.AT_LEAST_ONCE, ""))
    demand(handler(without), Derived(Guarantee.AT_MOST_ONCE, ""))


def test_a_demand_above_it_is_refused_with_the_reason():
    with pytest.raises(GuaranteeError) as caught:
        demand(handler(without, guarantee="effectively_once"), Derived(Guarantee.AT_LEAST_ONCE, "because"))
    assert str(caught.value) == "without demands effectively_once but would get at_least_once: because"


def test_every_guarantee_can_be_demanded_by_its_name():
    assert get_args(Demand) == tuple(each.label for each in Guarantee)


TRANSACTIONS = Capabilities(model="log", durable=True, transactions=True)


def test_what_leaves_with_the_watermark_is_effectively_once_where_that_is_demanded():
    broker = a_broker(TRANSACTIONS)
    demanding = handler(returning, guarantee="effectively_once")
    assert derive(demanding, broker, OTHER, inbox=True).guarantee is Guarantee.EFFECTIVELY_ONCE
    assert derive(handler(returning), broker, OTHER, inbox=True).guarantee is Guarantee.AT_LEAST_ONCE


@pytest.mark.parametrize(
    ("function", "options", "capabilities", "inbox"),
    [
        (returning, {}, TRANSACTIONS, False),
        (returning, {}, PLAIN, True),
        (without, {}, TRANSACTIONS, True),
        (publishing, {"publishes": (Paid,)}, TRANSACTIONS, True),
        (returning, {"batch_size": 10}, TRANSACTIONS, True),
    ],
    ids=["no inbox", "no transactions", "returns nothing", "publishes by hand", "batches"],
)
def test_what_cannot_leave_with_the_watermark_is_refused_where_that_is_demanded(function, options, capabilities, inbox):
    demanding = handler(function, guarantee="effectively_once", **options)
    derived = derive(demanding, a_broker(capabilities), OTHER, inbox=inbox)
    with pytest.raises(GuaranteeError):
        demand(demanding, derived)
