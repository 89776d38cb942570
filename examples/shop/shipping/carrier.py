"""Which parcels can be delivered? It stands for a carrier outside the shop, and always answers the same."""

from __future__ import annotations

from hashlib import blake2b


def delivers_to(customer_id: str, order_id: str) -> bool:
    """Whether the address given with this order exists; with one order in thirty it does not."""
    address = f"address {customer_id} {order_id}"
    return int.from_bytes(blake2b(address.encode(), digest_size=4).digest(), "big") % 30 != 0
