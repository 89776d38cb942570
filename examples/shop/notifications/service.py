"""Which letters do customers get?"""

from __future__ import annotations

from antiphon import Service, Transaction
from examples.shop.notifications.events import OrderCancelled, OrderConfirmed, ShipmentDispatched
from examples.shop.notifications.tracking import Tracking, ask_carrier

notifications = Service("notifications", migrations="migrations")


@notifications.fetches(ShipmentDispatched)
async def track(shipment: ShipmentDispatched) -> Tracking:
    return await ask_carrier(shipment.order_id)


@notifications.on(OrderConfirmed)
async def thank(order: OrderConfirmed, tx: Transaction) -> None:
    await send("confirmed", order.order_id, order.customer_id, "Thank you, we are packing your order.", tx)


@notifications.on(OrderCancelled)
async def apologize(order: OrderCancelled, tx: Transaction) -> None:
    await send("cancelled", order.order_id, order.customer_id, f"We are sorry: {order.reason}.", tx)


@notifications.on(ShipmentDispatched)
async def announce(shipment: ShipmentDispatched, tracking: Tracking, tx: Transaction) -> None:
    text = f"Your parcel {tracking.number} has left {tracking.depot}."
    await send("dispatched", shipment.order_id, shipment.customer_id, text, tx)


async def send(occasion: str, order_id: str, customer_id: str, text: str, tx: Transaction) -> None:
    """Put a letter into the tray, from which a mail program would take it."""
    await tx.execute(
        "insert into notifications_letters (order_id, customer_id, occasion, text) values (?, ?, ?, ?)",
        order_id,
        customer_id,
        occasion,
        text,
    )
