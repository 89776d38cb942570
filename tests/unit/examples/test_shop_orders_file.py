"""Does the shop take real orders from a file, and refuse everything else by line, column and reason?"""

from __future__ import annotations

import tracemalloc
from datetime import date
from io import BytesIO, RawIOBase

import pytest

from examples.shop.order import Item, Order
from examples.shop.orders_file import INVOICE_FORM, LINE_FORM, read_orders
from examples.shop.refusals import Reason, Refusal, Refusals

INVOICES = ",".join(INVOICE_FORM)
LINES = ",".join(LINE_FORM)


def read(*rows: str | bytes, header: str = INVOICES) -> tuple[list[Order], list[Refusal]]:
    lines = [row if isinstance(row, bytes) else row.encode() for row in (header, *rows)]
    return read_bytes(b"\n".join(lines))


def read_bytes(data: bytes) -> tuple[list[Order], list[Refusal]]:
    refusals = Refusals()
    return list(read_orders(BytesIO(data), "orders.csv", refusals.add)), refusals.first


def test_an_invoice_becomes_an_order() -> None:
    [order], refused = read("536365,2010-12-01,17850,139.12")
    assert refused == []
    assert (order.order_id, order.customer_id, order.placed_on) == ("536365", "17850", date(2010, 12, 1))
    assert order.pence == 13912
    assert 1 <= len(order.items) <= 4


@pytest.mark.parametrize(
    ("written", "pence"),
    [("22.200000000000003", 2220), ("70.05000000000001", 7005), ("2.675", 268), ("31698.159999999996", 3169816)],
)
def test_amounts_are_rounded_to_pence_and_never_refused_for_dust(written: str, pence: int) -> None:
    [order], _ = read(f"1,2010-12-01,17850,{written}")
    assert order.pence == pence


def test_items_depend_on_the_invoice_alone() -> None:
    [first], _ = read("536365,2010-12-01,17850,139.12")
    [again], _ = read("536365,2011-01-05,12000,1.00")
    assert first.items == again.items
    assert first.items == (Item("10009", 1), Item("10028", 2), Item("10020", 2))


@pytest.mark.parametrize(
    ("row", "column", "reason"),
    [
        ("1,2010-12-01,17850", "TotalPrice", Reason.MISSING_COLUMN),
        ("1,2010-12-01,17850,5,6", "", Reason.TOO_MANY_COLUMNS),
        ("1,2010-12-01,17850,-5", "TotalPrice", Reason.NEGATIVE),
        ("1,2010-12-01,17850,abc", "TotalPrice", Reason.NOT_A_NUMBER),
        ("1,2010-12-01,17850,nan", "TotalPrice", Reason.NOT_A_NUMBER),
        ("1,2010-12-01,17850,", "TotalPrice", Reason.NOT_A_NUMBER),
        ("1,2010-12-01,17850,1_000", "TotalPrice", Reason.NOT_A_NUMBER),
        ("1,2010-12-01,17850,1e308", "TotalPrice", Reason.ABSURD),
        ("1,2010-12-01,17850,9999999999", "TotalPrice", Reason.ABSURD),
        ("1,2010-12-01,17850,0.004", "TotalPrice", Reason.NOTHING),
        ("1,2010-13-01,17850,5", "InvoiceDate", Reason.BAD_DATE),
        ("1,yesterday,17850,5", "InvoiceDate", Reason.BAD_DATE),
        ("1,0001-01-01,17850,5", "InvoiceDate", Reason.BAD_DATE),
        ("1,2010-12-01,,5", "CustomerID", Reason.NO_CUSTOMER),
        ("C1,2010-12-01,17850,5", "InvoiceNo", Reason.RETURN),
        (",2010-12-01,17850,5", "InvoiceNo", Reason.BAD_TEXT),
        (f"{'9' * 65},2010-12-01,17850,5", "InvoiceNo", Reason.BAD_TEXT),
        ("1\x00,2010-12-01,17850,5", "InvoiceNo", Reason.BAD_TEXT),
        (b"1,2010-12-01,\xa3178,5", "CustomerID", Reason.WRONG_ENCODING),
        ('1,2010-12-01,"17850,5', "", Reason.OPEN_QUOTE),
    ],
)
def test_a_row_that_is_no_order_is_refused_and_the_rest_goes_on(row: str | bytes, column: str, reason: Reason) -> None:
    orders, [refusal] = read(row, "2,2010-12-01,17850,7.00")
    assert [order.order_id for order in orders] == ["2"]
    assert (refusal.file, refusal.line, refusal.column, refusal.reason) == ("orders.csv", 2, column, reason)


def test_an_invoice_counts_once() -> None:
    orders, [refusal] = read("1,2010-12-01,17850,5", "1,2010-12-01,17850,5")
    assert len(orders) == 1
    assert (refusal.line, refusal.reason) == (3, Reason.DUPLICATE)


def test_an_invoice_refused_before_may_come_again_right() -> None:
    orders, refused = read("1,2010-12-01,17850,-5", "1,2010-12-01,17850,5")
    assert (len(orders), len(refused)) == (1, 1)


def test_customers_that_were_taken_for_numbers_are_the_same_customers() -> None:
    [order], _ = read("1,2010-12-01,17850.0,5")
    assert order.customer_id == "17850"


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_a_mark_at_the_start_blank_lines_and_line_ends_do_no_harm(newline: bytes) -> None:
    data = b"\xef\xbb\xbf" + newline.join([INVOICES.encode(), b"", b"1,2010-12-01,17850,5", b"  ", b""])
    orders, refused = read_bytes(data)
    assert (len(orders), refused) == (1, [])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.EMPTY_FILE),
        (b"\n\n", Reason.EMPTY_FILE),
        (b"a,b,c\n1,2,3\n", Reason.UNKNOWN_HEADER),
        (b"InvoiceNo,InvoiceDate,CustomerID\n1,2010-12-01,17850\n", Reason.MISSING_COLUMN),
        (INVOICES.encode("utf-16"), Reason.WRONG_ENCODING),
        (b"SQLite format 3\x00\x10\x00\x01\x01\x00", Reason.UNKNOWN_HEADER),
    ],
)
def test_a_file_that_holds_no_orders_is_refused_once(data: bytes, reason: Reason) -> None:
    orders, [refusal] = read_bytes(data)
    assert orders == []
    assert (refusal.line, refusal.reason) == (1, reason)


class LongLine(RawIOBase):
    """A header, a line of 100 MB that is never in memory, and an order."""

    def __init__(self) -> None:
        self.left = 100_000_000
        self.head = BytesIO(f"{INVOICES}\n".encode())
        self.tail = BytesIO(b"\n2,2010-12-01,17850,5\n")

    def readline(self, size: int | None = -1, /) -> bytes:
        if line := self.head.readline(size):
            return line
        if self.left:
            count = min(self.left, size or 0)
            self.left -= count
            return b"x" * count
        return self.tail.readline(size)


def test_a_line_of_100_megabytes_is_refused_in_little_memory() -> None:
    refusals = Refusals()
    tracemalloc.start()
    try:
        orders = list(read_orders(LongLine(), "orders.csv", refusals.add))  # type: ignore[arg-type]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [order.order_id for order in orders] == ["2"]
    assert [(refusal.line, refusal.reason) for refusal in refusals.first] == [(2, Reason.LINE_TOO_LONG)]
    assert peak < 2_000_000


def line(invoice: str, sku: str, quantity: str = "6", price: str = "2.55", customer: str = "17850") -> str:
    return f'{invoice},{sku},"LANTERN, WHITE",{quantity},12/1/10 8:26,{price},{customer},United Kingdom'


def test_lines_of_an_invoice_become_one_order() -> None:
    orders, refused = read(line("1", "A"), line("1", "B", "2", "3.39"), line("2", "A"), header=LINES)
    assert refused == []
    assert [(order.order_id, order.pence, order.items) for order in orders] == [
        ("1", 6 * 255 + 2 * 339, (Item("A", 6), Item("B", 2))),
        ("2", 6 * 255, (Item("A", 6),)),
    ]
    assert orders[0].placed_on == date(2010, 12, 1)


def test_one_product_on_two_lines_is_one_item() -> None:
    [order], _ = read(line("1", "A"), line("1", "A", "1"), header=LINES)
    assert order.items == (Item("A", 7),)


def test_names_of_products_are_told() -> None:
    told: list[tuple[str, str]] = []
    data = f"{LINES}\n{line('1', 'A')}\n".encode()
    list(read_orders(BytesIO(data), "orders.csv", Refusals().add, lambda sku, name: told.append((sku, name))))
    assert told == [("A", "LANTERN, WHITE")]


@pytest.mark.parametrize(
    ("row", "column", "reason"),
    [
        (line("C2", "A", "-6"), "InvoiceNo", Reason.RETURN),
        (line("2", "A", customer=""), "CustomerID", Reason.NO_CUSTOMER),
        (line("2", "A", "-6"), "Quantity", Reason.NEGATIVE),
        (line("2", "A", "0"), "Quantity", Reason.NOTHING),
        (line("2", "A", "1.5"), "Quantity", Reason.NOT_A_NUMBER),
        (line("2", "A", "80000000"), "Quantity", Reason.ABSURD),
        (line("2", ""), "StockCode", Reason.BAD_TEXT),
        (line("2", "A", price="0"), "UnitPrice", Reason.NOTHING),
    ],
)
def test_a_line_that_cannot_be_sold_is_refused_and_the_rest_goes_on(row: str, column: str, reason: Reason) -> None:
    orders, [refusal] = read(line("1", "A"), row, line("3", "A"), header=LINES)
    assert [order.order_id for order in orders] == ["1", "3"]
    assert (refusal.line, refusal.column, refusal.reason) == (3, column, reason)


def test_lines_of_an_invoice_that_was_closed_are_refused() -> None:
    orders, [refusal] = read(line("1", "A"), line("2", "A"), line("1", "B"), header=LINES)
    assert [order.order_id for order in orders] == ["1", "2"]
    assert refusal.reason is Reason.DUPLICATE


def test_refusals_are_counted_by_reason_beyond_those_that_are_kept() -> None:
    refusals = Refusals(keep=2)
    rows = "\n".join([INVOICES, *["1,2010-12-01,17850,-5"] * 5, "2,never,17850,5"])
    list(read_orders(BytesIO(rows.encode()), "orders.csv", refusals.add))
    assert refusals.counts == {Reason.NEGATIVE: 5, Reason.BAD_DATE: 1}
    assert (refusals.total, len(refusals.first)) == (6, 2)
    assert str(refusals.first[0]) == "orders.csv, line 2, column TotalPrice: negative number: '-5'"
