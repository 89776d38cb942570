"""When is money set aside, taken, or given back?"""

from __future__ import annotations

from antiphon import Service, Transaction
from examples.shop.payments.bank import Bank
from examples.shop.payments.events import (
    InventoryReserved,
    OrderPlaced,
    OutOfStock,
    PaymentAuthorised,
    PaymentCaptured,
    PaymentDeclined,
    PaymentRefunded,
    PaymentReleased,
    StockReleased,
)

payments = Service("payments", migrations="migrations")


@payments.provides
def bank() -> Bank:
    return Bank()


@payments.on(OrderPlaced)
async def authorise(order: OrderPlaced, bank: Bank, tx: Transaction) -> PaymentAuthorised | PaymentDeclined:
    if reason := bank.refusal(order.order_id, order.pence):
        await write("declined", order.order_id, order.pence, tx)
        return PaymentDeclined(order.order_id, reason)
    await write("authorised", order.order_id, order.pence, tx)
    return PaymentAuthorised(order.order_id, order.pence)


@payments.on(InventoryReserved)
async def capture(stock: InventoryReserved, tx: Transaction) -> PaymentCaptured:
    pence = await authorised(stock.order_id, tx)
    await write("captured", stock.order_id, pence, tx)
    return PaymentCaptured(stock.order_id, pence)


@payments.on(OutOfStock)
async def release(stock: OutOfStock, tx: Transaction) -> PaymentReleased:
    pence = await authorised(stock.order_id, tx)
    await write("released", stock.order_id, pence, tx)
    return PaymentReleased(stock.order_id, pence)


@payments.on(StockReleased)
async def refund(stock: StockReleased, tx: Transaction) -> PaymentRefunded:
    pence = await authorised(stock.order_id, tx)
    await write("refunded", stock.order_id, pence, tx)
    return PaymentRefunded(stock.order_id, pence)


async def write(entry: str, order_id: str, pence: int, tx: Transaction) -> None:
    """Add one entry. The ledger is only ever added to, so every penny can be followed."""
    await tx.execute("insert into payments_ledger (order_id, entry, pence) values (?, ?, ?)", order_id, entry, pence)


async def authorised(order_id: str, tx: Transaction) -> int:
    """What was set aside for this order; always there, since an order's story is read in order."""
    pence = await tx.fetch_one(
        "select pence from payments_ledger where order_id = ? and entry = 'authorised'", order_id, row=int
    )
    if pence is None:
        raise LookupError(f"nothing was authorised for order {order_id}")
    return pence
