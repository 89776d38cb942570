"""Is everything in an order there, and where did each piece go?"""

from __future__ import annotations

from antiphon import Service, Transaction
from examples.shop.inventory import sql
from examples.shop.inventory.events import (
    GoodsDelivered,
    InventoryReserved,
    OrderPlaced,
    OutOfStock,
    PaymentAuthorised,
    ProductListed,
    ShipmentDispatched,
    ShipmentFailed,
    StockReleased,
)

inventory = Service("inventory", migrations="migrations")


@inventory.on(GoodsDelivered)
async def receive(goods: GoodsDelivered, tx: Transaction) -> ProductListed:
    await tx.execute(sql.TAKE_TURN)
    await tx.execute(sql.SHELVE, goods.sku, goods.quantity)
    await tx.execute(sql.RECEIVE, goods.sku, goods.quantity)
    return ProductListed(goods.sku, goods.name, goods.grams)


@inventory.on(OrderPlaced)
async def remember(order: OrderPlaced, tx: Transaction) -> None:
    await tx.execute_many(sql.REMEMBER, [(order.order_id, item.sku, item.quantity) for item in order.items])


@inventory.on(PaymentAuthorised)
async def reserve(payment: PaymentAuthorised, tx: Transaction) -> InventoryReserved | OutOfStock:
    await tx.execute(sql.TAKE_TURN)
    short = await tx.fetch_one(sql.SHORT, payment.order_id, row=str)
    if short is not None:
        return OutOfStock(payment.order_id, short)
    await tx.execute(sql.TAKE, payment.order_id)
    await tx.execute(sql.MOVE, "reserved", payment.order_id)
    return InventoryReserved(payment.order_id)


@inventory.on(ShipmentDispatched)
async def ship(shipment: ShipmentDispatched, tx: Transaction) -> None:
    await tx.execute(sql.MOVE, "shipped", shipment.order_id)


@inventory.on(ShipmentFailed)
async def put_back(shipment: ShipmentFailed, tx: Transaction) -> StockReleased:
    await tx.execute(sql.TAKE_TURN)
    await tx.execute(sql.PUT_BACK, shipment.order_id)
    await tx.execute(sql.MOVE, "released", shipment.order_id)
    return StockReleased(shipment.order_id)
