"""What does a parcel weigh, and does it leave?"""

from __future__ import annotations

from antiphon import Service, Transaction
from examples.shop.shipping.carrier import delivers_to
from examples.shop.shipping.events import OrderConfirmed, ProductListed, ShipmentDispatched, ShipmentFailed

shipping = Service("shipping", migrations="migrations")

products = shipping.replica(ProductListed)

WRAPPING_GRAMS = 120
UNLISTED_GRAMS = 500
"""What a piece is taken to weigh while its product is not in the replica yet."""


@shipping.on(OrderConfirmed)
async def dispatch(order: OrderConfirmed, tx: Transaction) -> ShipmentDispatched | ShipmentFailed:
    grams = await weigh(order, tx)
    if not delivers_to(order.customer_id, order.order_id):
        await book("undeliverable", order.order_id, grams, tx)
        return ShipmentFailed(order.order_id, "no such address")
    await book("dispatched", order.order_id, grams, tx)
    return ShipmentDispatched(order.order_id, order.customer_id)


async def weigh(order: OrderConfirmed, tx: Transaction) -> int:
    grams = WRAPPING_GRAMS
    for item in order.items:
        product = await products.get(tx, item.sku)
        grams += item.quantity * (product.grams if product else UNLISTED_GRAMS)
    return grams


async def book(outcome: str, order_id: str, grams: int, tx: Transaction) -> None:
    await tx.execute(
        "insert into shipping_parcels (order_id, outcome, grams) values (?, ?, ?)", order_id, outcome, grams
    )
