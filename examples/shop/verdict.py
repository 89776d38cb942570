"""Did every order end in one way, was every effect had exactly once, and is every penny and piece accounted for?

An order's life is one of four stories, and each story leaves the same marks in the services' ledgers, each once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import asdict

_EVERY = {"order placed", "goods requested"}
_PAID = {*_EVERY, "payment authorised"}
_CONFIRMED = {*_PAID, "payment captured", "order confirmed", "stock reserved", "letter confirmed"}

STORIES: Mapping[str, frozenset[str]] = {
    "order shipped": frozenset({*_CONFIRMED, "parcel dispatched", "stock shipped", "letter dispatched"}),
    "order declined": frozenset({*_EVERY, "payment declined", "letter cancelled"}),
    "order out of stock": frozenset({*_PAID, "payment released", "letter cancelled"}),
    "order cancelled": frozenset(
        {*_CONFIRMED, "parcel undeliverable", "stock released", "payment refunded", "letter cancelled"}
    ),
}
"""The final states, and the marks that an order in each leaves besides that state."""


class Mark(NamedTuple):
    """What one ledger says of one order, and how often it says so."""

    order_id: str
    mark: str
    times: int


class Shelf(NamedTuple):
    """One product: what came in and went out by its movements, and what its shelf says there is."""

    sku: str
    received: int
    reserved: int
    released: int
    shipped: int
    available: int

    def is_conserved(self) -> bool:
        """Whether the first stock less what was shipped is there, and nothing is set aside any more."""
        return self.available == self.received - self.shipped and self.reserved == self.released + self.shipped


class Money(NamedTuple):
    """The sums of the payments' entries, in pence."""

    authorised: int = 0
    captured: int = 0
    released: int = 0
    refunded: int = 0

    @property
    def kept(self) -> int:
        """What was captured and stayed ours."""
        return self.captured - self.refunded

    def is_conserved(self) -> bool:
        """Whether all that was authorised is kept, released or refunded: a refunded capture counts as refunded."""
        return self.authorised == self.kept + self.released + self.refunded


class Ledgers(Struct, frozen=True):
    """What the services wrote, as read at one moment."""

    accepted: Mapping[str, int]
    """The orders that the storefront took, and their totals in pence."""
    marks: Collection[Mark]
    money: Money
    unbalanced: int
    """Orders whose own payments do not add up."""
    shelves: Collection[Shelf]
    days: Mapping[str, int]
    """The read model's sums: orders by outcome."""


class Verdict(Struct, frozen=True):
    """What the ledgers prove. `problems` says in words what is wrong."""

    orders: int
    confirmed: int
    declined: int
    out_of_stock: int
    cancelled: int
    lost: int
    double_effects: int
    conserved: bool
    problems: list[str]

    @property
    def is_good(self) -> bool:
        return self.conserved and self.lost == 0 and self.double_effects == 0


def judge(ledgers: Ledgers) -> Verdict:
    """The verdict; it reads nothing but the ledgers it is given."""
    stories = _stories(ledgers.marks)
    ends = {order_id: [end for end in STORIES if end in marks] for order_id, marks in stories.items()}
    lost = _lost(ledgers.accepted, stories, ends)
    doubles = sum(times - 1 for marks in stories.values() for times in marks.values())
    missing_days, extra_days = _days(ledgers, stories)
    problems = [*_conflicts(ledgers, stories, ends), *_accounts(ledgers, ends)]
    return Verdict(
        orders=len(ledgers.accepted),
        **{name: sum(found == [end] for found in ends.values()) for name, end in _COUNTED.items()},
        lost=max(len(lost), missing_days),
        double_effects=doubles + extra_days,
        conserved=not problems and not lost,
        problems=[*problems, *_in_words(lost, stories), *_repeated(stories)],
    )


_COUNTED = {
    "confirmed": "order shipped",
    "declined": "order declined",
    "out_of_stock": "order out of stock",
    "cancelled": "order cancelled",
}


_MESSAGES = {"confirmed": 6, "declined": 3, "out_of_stock": 5, "cancelled": 9}
"""How many events tell each story, from the order that was placed to the parcel or the cancellation."""


def messages_of(verdict: Verdict) -> int:
    """How many events the orders of a run came to, each counted once."""
    counts = asdict(verdict)
    return sum(counts[name] * events for name, events in _MESSAGES.items())


def _stories(marks: Iterable[Mark]) -> dict[str, dict[str, int]]:
    stories: dict[str, dict[str, int]] = {}
    for order_id, mark, times in marks:
        stories.setdefault(order_id, {})[mark] = times
    return stories


def _lost(
    accepted: Mapping[str, int], stories: Mapping[str, Mapping[str, int]], ends: Mapping[str, list[str]]
) -> dict[str, set[str]]:
    """The orders that lack something, and what: an end, or marks of the story that their end tells."""
    lost: dict[str, set[str]] = {}
    for order_id in accepted:
        found = ends.get(order_id)
        missing = STORIES[found[0]] - stories[order_id].keys() if found else {"an end"}
        if missing:
            lost[order_id] = set(missing)
    return lost


def _conflicts(
    ledgers: Ledgers, stories: Mapping[str, Mapping[str, int]], ends: Mapping[str, list[str]]
) -> Iterable[str]:
    for order_id, found in ends.items():
        if order_id not in ledgers.accepted:
            yield f"order {order_id} was never taken, but has {', '.join(sorted(stories[order_id]))}"
        if len(found) > 1:
            yield f"order {order_id} ended in {len(found)} ways: {', '.join(found)}"
        for mark in stories[order_id].keys() - STORIES[found[0]] - {found[0]} if len(found) == 1 else ():
            yield f"order {order_id} ended as {found[0]!r}, but has {mark!r}"


def _accounts(ledgers: Ledgers, ends: Mapping[str, list[str]]) -> Iterable[str]:
    money = ledgers.money
    if not money.is_conserved() or ledgers.unbalanced:
        yield (
            f"money: {money.authorised}p authorised, but {money.kept}p kept, {money.released}p released and "
            f"{money.refunded}p refunded; {ledgers.unbalanced} orders do not add up"
        )
    sold = sum(pence for order_id, pence in ledgers.accepted.items() if ends.get(order_id) == ["order shipped"])
    if money.kept != sold:
        yield f"money: {money.kept}p kept, but the orders shipped cost {sold}p"
    for shelf in ledgers.shelves:
        if not shelf.is_conserved():
            yield (
                f"stock of {shelf.sku}: {shelf.received} received, {shelf.reserved} reserved, {shelf.released} "
                f"released, {shelf.shipped} shipped, but {shelf.available} on the shelf"
            )


def _days(ledgers: Ledgers, stories: Mapping[str, Mapping[str, int]]) -> tuple[int, int]:
    """How many events the read model counted too few and too many."""
    cancelled = _COUNTED.keys() - {"confirmed"}
    expected = {
        "placed": len(ledgers.accepted),
        "confirmed": sum("order confirmed" in marks for marks in stories.values()),
        "cancelled": sum(_COUNTED[name] in marks for marks in stories.values() for name in cancelled),
    }
    gaps = [ledgers.days.get(outcome, 0) - count for outcome, count in expected.items()]
    return sum(-gap for gap in gaps if gap < 0), sum(gap for gap in gaps if gap > 0)


def _in_words(lost: Mapping[str, set[str]], stories: Mapping[str, Mapping[str, int]]) -> Iterable[str]:
    for order_id, missing in list(lost.items())[:10]:
        last = ", ".join(sorted(stories.get(order_id, ()))) or "nothing"
        yield f"order {order_id} lacks {', '.join(sorted(missing))}; it has {last}"
    if len(lost) > 10:
        yield f"{len(lost) - 10} more orders lack something"


def _repeated(stories: Mapping[str, Mapping[str, int]]) -> Iterable[str]:
    repeated = [(order_id, mark, n) for order_id, marks in stories.items() for mark, n in marks.items() if n > 1]
    for order_id, mark, times in repeated[:10]:
        yield f"order {order_id}: {mark!r} happened {times} times"
    if len(repeated) > 10:
        yield f"{len(repeated) - 10} more effects happened more than once"
