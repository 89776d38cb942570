"""Does the verdict find what is lost, doubled or unaccounted for, and nothing else?"""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from examples.shop.verdict import STORIES, Ledgers, Mark, Money, Shelf, judge

END_OF = {"S": "order shipped", "D": "order declined", "O": "order out of stock", "C": "order cancelled"}
PENCE = {"S": 100, "D": 200, "O": 300, "C": 400}
GOOD = Ledgers(
    accepted=PENCE,
    marks=[Mark(order, mark, 1) for order, end in END_OF.items() for mark in (end, *STORIES[end])],
    money=Money(authorised=800, captured=500, released=300, refunded=400),
    unbalanced=0,
    shelves=[Shelf("A", received=10, reserved=5, released=2, shipped=3, available=7)],
    days={"placed": 4, "confirmed": 2, "cancelled": 3},
)


def without(*gone: tuple[str, str]) -> Ledgers:
    return replace(GOOD, marks=[mark for mark in GOOD.marks if (mark.order_id, mark.mark) not in gone])


def test_one_order_of_each_story_is_a_good_verdict() -> None:
    verdict = judge(GOOD)
    assert verdict.is_good
    assert (verdict.orders, verdict.confirmed, verdict.declined, verdict.out_of_stock, verdict.cancelled) == (
        4,
        1,
        1,
        1,
        1,
    )
    assert (verdict.lost, verdict.double_effects, verdict.conserved, verdict.problems) == (0, 0, True, [])


def test_a_shop_without_orders_is_a_good_verdict() -> None:
    assert judge(Ledgers(accepted={}, marks=[], money=Money(), unbalanced=0, shelves=[], days={})).is_good


def test_an_order_without_an_end_is_lost() -> None:
    verdict = judge(without(("S", "order shipped")))
    assert (verdict.lost, verdict.conserved) == (1, False)
    assert "order S lacks an end" in verdict.problems[-1]


def test_an_order_that_left_no_mark_at_all_is_lost() -> None:
    ledgers = replace(GOOD, accepted={**PENCE, "X": 1}, days={**GOOD.days, "placed": 5})
    assert judge(ledgers).lost == 1


@pytest.mark.parametrize(
    ("order", "mark"), [(order, mark) for order, end in END_OF.items() for mark in sorted(STORIES[end])]
)
def test_every_missing_mark_is_a_loss(order: str, mark: str) -> None:
    assert judge(without((order, mark))).lost == 1


@pytest.mark.parametrize(("order", "end"), END_OF.items())
def test_every_mark_made_twice_is_a_double_effect(order: str, end: str) -> None:
    for doubled in (end, *STORIES[end]):
        marks = [mark._replace(times=2) if mark[:2] == (order, doubled) else mark for mark in GOOD.marks]
        verdict = judge(replace(GOOD, marks=marks))
        assert verdict.double_effects == 1
        assert not verdict.is_good


def test_two_ends_of_one_order_are_not_conserved() -> None:
    verdict = judge(replace(GOOD, marks=[*GOOD.marks, Mark("S", "order cancelled", 1)]))
    assert not verdict.conserved
    assert verdict.confirmed == 0


def test_a_mark_that_does_not_belong_to_the_story_is_not_conserved() -> None:
    assert not judge(replace(GOOD, marks=[*GOOD.marks, Mark("D", "payment captured", 1)])).conserved


def test_an_order_that_nobody_placed_is_not_conserved() -> None:
    assert not judge(replace(GOOD, marks=[*GOOD.marks, Mark("X", "order placed", 1)])).conserved


@pytest.mark.parametrize(
    "money",
    [
        Money(authorised=801, captured=500, released=300, refunded=400),
        Money(authorised=800, captured=499, released=300, refunded=400),
        Money(authorised=800, captured=500, released=299, refunded=400),
        Money(authorised=800, captured=500, released=300, refunded=399),
    ],
)
def test_a_penny_too_many_or_too_few_is_not_conserved(money: Money) -> None:
    assert not judge(replace(GOOD, money=money)).conserved


def test_payments_that_even_out_only_over_several_orders_are_not_conserved() -> None:
    assert not judge(replace(GOOD, unbalanced=2)).conserved


@pytest.mark.parametrize("field", ["received", "reserved", "released", "shipped", "available"])
def test_a_piece_too_many_is_not_conserved(field: str) -> None:
    [shelf] = GOOD.shelves
    wrong = shelf._replace(**{field: getattr(shelf, field) + 1})
    assert not judge(replace(GOOD, shelves=[wrong])).conserved


@pytest.mark.parametrize("outcome", ["placed", "confirmed", "cancelled"])
def test_the_read_model_counts_every_event_once(outcome: str) -> None:
    more = replace(GOOD, days={**GOOD.days, outcome: GOOD.days[outcome] + 1})
    less = replace(GOOD, days={**GOOD.days, outcome: GOOD.days[outcome] - 1})
    assert judge(more).double_effects == 1
    assert judge(less).lost == 1
