"""The data that every side works on: orders of some 256 bytes as JSON, over a thousand keys, the same each time."""

from __future__ import annotations

from collections.abc import Iterator

KEYS = 1_000


def key_of(number: int) -> str:
    """The key of the order of this number; neighbors differ."""
    return f"order-{number * 7919 % KEYS:06d}"


def order_json(number: int) -> bytes:
    """The order of this number: a text, an id, a moment, an amount and lines, as orders are."""
    pence = number % 90_000 + 10_000
    total = f"{pence // 100}.{pence % 100:02d}"
    return (
        f'{{"order_id":"{key_of(number)}","customer":"9b2d6f0c-7a31-4c58-8e45-{number:012x}",'
        f'"placed_at":"2026-03-14T15:09:26.535897Z","total":"{total}","channel":"web",'
        f'"lines":[{{"sku":"85123A","quantity":6,"price":"2.55"}},{{"sku":"71053","quantity":{number % 12 + 1},'
        f'"price":"3.39"}}]}}'
    ).encode()


def orders(count: int) -> Iterator[bytes]:
    """The first `count` orders."""
    return map(order_json, range(count))
