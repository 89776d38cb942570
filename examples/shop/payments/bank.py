"""Whose payments does the bank decline? It stands for a provider outside the shop, and always answers the same."""

from __future__ import annotations

from hashlib import blake2b

LIMIT_PENCE = 5_000_00
"""The most that the bank sets aside at once."""


class Bank:
    """Decides on payments. A real one would hold a connection; the handlers would look the same."""

    def refusal(self, order_id: str, pence: int) -> str | None:
        """Why this payment is declined, or None: what is above the limit, and one card in forty."""
        if pence > LIMIT_PENCE:
            return "over the limit"
        digest = blake2b(f"card {order_id}".encode(), digest_size=4).digest()
        return "card declined" if int.from_bytes(digest, "big") % 40 == 0 else None
