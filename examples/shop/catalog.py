"""What does the shop sell, what is in an order whose file does not say, and how much stock is there at first?"""

from __future__ import annotations

from collections import Counter
from functools import cache
from hashlib import blake2b
from itertools import accumulate, product
from math import ceil

from msgspec import Struct

from examples.shop.order import Item, Order, merged

_COLORS = ("White", "Red", "Green", "Blue", "Pink", "Ivory", "Black", "Yellow")
_STYLES = ("Vintage", "Enamel", "Wicker", "Knitted", "Paper", "Glass")
_THINGS = ("Lantern", "Tea Cosy", "Cake Stand", "Coat Hanger", "Money Box")

SCARCE_SHARE = 8
"""Products are made scarce until about one order in so many asks for one of them."""


class Product(Struct, frozen=True):
    """Something the shop sells; `grams` is the weight of one."""

    sku: str
    name: str
    grams: int


class Goods(Struct, frozen=True):
    """A product, and how many of it the shop begins with."""

    product: Product
    quantity: int


def fixed_number(text: str) -> int:
    """A number of 64 bits that depends on `text` alone, the same in every process and on every machine."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


@cache
def catalog() -> tuple[Product, ...]:
    """The 240 products that every shop has, best sellers first."""
    names = (" ".join(words) for words in product(_STYLES, _COLORS, _THINGS))
    return tuple(described(f"{10_001 + place}", name) for place, name in enumerate(names))


def described(sku: str, name: str) -> Product:
    """A product by its name; what it weighs follows from its sku."""
    return Product(sku, name or f"Article {sku}", grams=50 + fixed_number(f"weight {sku}") % 1_950)


@cache
def _popularity() -> list[float]:
    """Running sums of how often each product is bought: the second half as often as the first, and so on."""
    return list(accumulate(1 / (place + 8) for place in range(len(catalog()))))


def items_of(order_id: str) -> tuple[Item, ...]:
    """What is in this order: one to four products, one to three of each, derived from its number alone."""
    bits = fixed_number(f"items {order_id}")
    count = 1 + bits % 4
    return merged([_item(bits >> (8 + 14 * place)) for place in range(count)])


def _item(bits: int) -> Item:
    sums = _popularity()
    aim = (bits % 4_096) / 4_096 * sums[-1]
    place = next(place for place, reached in enumerate(sums) if aim < reached)
    return Item(catalog()[place].sku, 1 + (bits >> 12) % 3)


class Demand:
    """How much of each product the orders will ask for; the shop is stocked from it, some of it scarcely."""

    def __init__(self) -> None:
        self.orders = 0
        self._pieces: Counter[str] = Counter()
        self._asked: Counter[str] = Counter()
        self._names: dict[str, str] = {}

    def add(self, order: Order) -> None:
        self.orders += 1
        for item in order.items:
            self._pieces[item.sku] += item.quantity
            self._asked[item.sku] += 1

    def name_product(self, sku: str, name: str) -> None:
        """Keep the first name that a file tells for a product."""
        if name and sku not in self._names:
            self._names[sku] = name

    def goods(self) -> list[Goods]:
        """Every product with its first stock: plenty of most, half of what will be asked for of the scarce."""
        scarce = self._scarce()
        return [
            Goods(
                found, self._pieces[found.sku] // 2 if found.sku in scarce else ceil(self._pieces[found.sku] * 1.2) + 5
            )
            for found in self._products()
        ]

    def _products(self) -> list[Product]:
        known = {found.sku: found for found in catalog()}
        for sku in self._pieces:
            if sku not in known:
                known[sku] = described(sku, self._names.get(sku, ""))
        return list(known.values())

    def _scarce(self) -> set[str]:
        room, scarce = self.orders / SCARCE_SHARE, set[str]()
        for sku in sorted(self._asked, key=lambda sku: fixed_number(f"scarce {sku}")):
            if self._asked[sku] <= room:
                room -= self._asked[sku]
                scarce.add(sku)
        return scarce
